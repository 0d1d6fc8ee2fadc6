"""Plays the kubelets of nodes that are objects only: pods run when they are bound, and go when they are deleted."""

import logging
from collections.abc import Mapping
from typing import Any

from bench.simulated.client import ClusterClient, FailureStatusError, UnreachableError
from bench.simulated.informer import Informer
from bench.simulated.kubelet.pod_lifecycle import RUN_ANNOTATION, ended_status, is_done, running_status
from bench.simulated.specs import timestamp
from bench.simulated.starting import Startable

_LOG = logging.getLogger(__name__)


class LightKubelet(Startable):
    """One for all nodes; it admits everything.

    Args:
        client: how to reach the API server.
    """

    def __init__(self, client: ClusterClient) -> None:
        self._client = client
        self._informer = Informer(client, "/api/v1/pods", self._changed)

    def start(self) -> None:
        """Begin to follow the pods."""
        self._informer.start()

    def stop(self) -> None:
        """Stop following them."""
        self._informer.stop()

    def _changed(self, kind: str, pod: Mapping[str, Any]) -> None:
        if kind == "DELETED" or not pod["spec"].get("nodeName"):
            return
        try:
            self._live(pod)
        except (FailureStatusError, UnreachableError) as error:
            _LOG.debug("%s: %s", pod["metadata"]["name"], error)

    def _live(self, pod: Mapping[str, Any]) -> None:
        metadata = pod["metadata"]
        name, namespace, uid = metadata["name"], metadata["namespace"], metadata["uid"]
        if metadata.get("deletionTimestamp"):
            self._client.delete_pod(name, namespace, grace_s=0, uid=uid)
            return
        if is_done(pod):
            return
        ends = RUN_ANNOTATION in (metadata.get("annotations") or {})
        if ends:
            status = ended_status(pod, timestamp(), exit_code=0)
        elif pod["status"].get("phase") == "Pending":
            status = running_status(pod, timestamp())
        else:
            return
        self._client.patch_pod(name, {"metadata": {"uid": uid}, "status": status}, namespace, subresource="status")
