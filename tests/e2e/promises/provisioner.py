"""Plays a provisioner of volumes that are made once a pod is on its way to a node: at once, late, or never."""

import threading
import time
from collections.abc import Callable
from typing import Any

from bench.simulated.client import MERGE_PATCH, ClusterClient, FailureStatusError
from bench.simulated.informer import Informer
from bench.simulated.starting import Startable

Body = dict[str, Any]
STORAGE_CLASS = "made-on-demand"
DRIVER = "volumes.gpupack.test"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
_CLAIMS = "/api/v1/persistentvolumeclaims"


class Provisioner(Startable):
    """Watches claims as an external provisioner does, from `start` to `stop`.

    kube-scheduler writes the chosen node on a claim in PreBind and waits there for its volume, up to ten minutes. A
    provisioner that fails on that node takes the annotation away, and the attempt has failed.

    Args:
        client: the API server, as an admin.
        takes_s: how long it takes to make the volume of a claim (by name) on a node; None fails at once.
    """

    def __init__(self, client: ClusterClient, takes_s: Callable[[str, str], float | None]) -> None:
        self.attempts: list[tuple[str, str, float]] = []
        """The claims that it was asked for, the node, and when, in monotonic seconds."""
        self._client = client
        self._takes_s = takes_s
        self._timers: list[threading.Timer] = []
        self._asked: dict[str, str] = {}
        self._claims = Informer(client, _CLAIMS, self._changed)

    def start(self) -> None:
        """Define the storage class, and serve its claims."""
        self._client.request(
            "POST",
            "/apis/storage.k8s.io/v1/storageclasses",
            {
                "metadata": {"name": STORAGE_CLASS},
                "provisioner": DRIVER,
                "volumeBindingMode": "WaitForFirstConsumer",
                "reclaimPolicy": "Retain",
            },
        )
        self._claims.start()

    def stop(self) -> None:
        """Make no more volumes."""
        self._claims.stop()
        for timer in self._timers:
            timer.cancel()

    def nodes_asked_for(self, claim: str) -> list[str]:
        """The node of each attempt to get a volume for the claim, oldest first."""
        return [node for name, node, _ in self.attempts if name == claim]

    def create_claim(self, name: str) -> list[Body]:
        """Create a claim, and return the volumes of a pod that uses it."""
        spec = {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": STORAGE_CLASS,
            "resources": {"requests": {"storage": "1Gi"}},
        }
        path = "/api/v1/namespaces/default/persistentvolumeclaims"
        self._client.request("POST", path, {"metadata": {"name": name}, "spec": spec})
        return [{"name": "data", "persistentVolumeClaim": {"claimName": name}}]

    def _changed(self, kind: str, claim: Body) -> None:
        uid = claim["metadata"]["uid"]
        node = (claim["metadata"].get("annotations") or {}).get(SELECTED_NODE, "")
        before, self._asked[uid] = self._asked.get(uid, ""), node
        if kind == "DELETED" or not node or node == before or claim["spec"].get("volumeName"):
            return
        name = claim["metadata"]["name"]
        self.attempts.append((name, node, time.monotonic()))
        takes_s = self._takes_s(name, node)
        if takes_s is None:
            self._give_up(claim)
        else:
            timer = threading.Timer(takes_s, self._provision, (claim, node))
            timer.daemon = True
            self._timers.append(timer)
            timer.start()

    def _give_up(self, claim: Body) -> None:
        metadata = {"uid": claim["metadata"]["uid"], "annotations": {SELECTED_NODE: None}}
        try:
            self._client.request("PATCH", _path(claim), {"metadata": metadata}, content_type=MERGE_PATCH)
        except FailureStatusError as error:
            if error.status not in (404, 409):
                raise

    def _provision(self, claim: Body, node: str) -> None:
        about = claim["metadata"]
        where = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
        reference = {key: about[key] for key in ("name", "namespace", "uid")}
        volume = {
            "metadata": {"name": f"pvc-{about['uid']}", "annotations": {"pv.kubernetes.io/provisioned-by": DRIVER}},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "capacity": {"storage": "1Gi"},
                "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", **reference},
                "local": {"path": "/volumes"},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [where]}]}},
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": STORAGE_CLASS,
            },
        }
        self._client.request("POST", "/api/v1/persistentvolumes", volume)


def _path(claim: Body) -> str:
    about = claim["metadata"]
    return f"/api/v1/namespaces/{about['namespace']}/persistentvolumeclaims/{about['name']}"
