"""Plays a node on which every pod fails at admission: the kubelet takes it and ends it at once."""

import threading
from typing import Any

from bench.simulated.client import ClusterClient
from bench.simulated.informer import Informer
from bench.simulated.starting import Startable

Body = dict[str, Any]
REFUSED = {
    "phase": "Failed",
    "reason": "UnexpectedAdmissionError",
    "message": "Pod was rejected: Allocate failed due to no such GPU, which is unexpected",
}


class FailingNode(Startable):
    """Follows the pods with a label from `start` to `stop`; the node that gets the first one fails it and all others.

    Args:
        client: the API server, as an admin.
        app: value of the pods' label `app`.
    """

    def __init__(self, client: ClusterClient, app: str) -> None:
        self.name = ""
        """The node; empty until the first pod is bound."""
        self.failed: list[str] = []
        """The pods that failed on it, oldest first."""
        self.survivor = ""
        """The node of the first pod that was bound elsewhere; empty until one is."""
        self._client = client
        self._app = app
        self._lock = threading.Lock()
        self._seen: set[str] = set()
        self._pods = Informer(client, "/api/v1/namespaces/default/pods", self._changed)

    def start(self) -> None:
        """Fail pods from now on."""
        self._pods.start()

    def stop(self) -> None:
        """Fail no more."""
        self._pods.stop()

    def _changed(self, kind: str, pod: Body) -> None:
        about = pod["metadata"]
        node = pod["spec"].get("nodeName", "")
        ours = (about.get("labels") or {}).get("app") == self._app
        if kind == "DELETED" or not ours or not node or about["uid"] in self._seen:
            return
        self._seen.add(about["uid"])
        with self._lock:
            self.name = self.name or node
            if node != self.name:
                self.survivor = self.survivor or node
                return
            self.failed.append(about["name"])
        self._client.patch_pod(about["name"], {"status": REFUSED}, subresource="status")
