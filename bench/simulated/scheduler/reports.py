"""Reports on pods as kube-scheduler does: the PodScheduled condition, nominations, and Events."""

import logging
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.simulated.client import STRATEGIC_PATCH, ClusterClient, FailureStatusError, UnreachableError
from bench.simulated.scheduler.native_fit import PodView
from bench.simulated.specs import timestamp

_LOG = logging.getLogger(__name__)
_SERIES_KEPT = 10_000


class SchedulerReports:
    """Writes for one scheduler; conditions at once, Events from a thread of their own.

    Args:
        client: how to reach the API server.
        name: the scheduler's name, the source of its Events.
    """

    def __init__(self, client: ClusterClient, name: str) -> None:
        self._client = client
        self._name = name
        self._series: dict[tuple[str, str, str], tuple[str, int]] = {}
        self._thread = ThreadPoolExecutor(1, "scheduler-events")

    def close(self) -> None:
        """Write no more Events."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def unscheduled(self, pod: PodView, reason: str, message: str, *, nominated: str | None = None) -> None:
        """Set the condition (only when it changes) and the nominated node, and write an Event.

        An error takes the nomination away; otherwise None leaves it as it is, and an empty one ends it.
        """
        status = pod.body.get("status") or {}
        held: Mapping[str, Any] = next(
            (entry for entry in status.get("conditions") or [] if entry["type"] == "PodScheduled"), {}
        )
        same = (held.get("status"), held.get("reason"), held.get("message")) == ("False", reason, message)
        failed = reason == "SchedulerError"
        if failed:
            nominated = ""
        moved = nominated is not None and nominated != (status.get("nominatedNodeName") or "")
        if not same or moved or failed:
            condition = {
                "type": "PodScheduled",
                "status": "False",
                "reason": reason,
                "message": message,
                "observedGeneration": pod.body["metadata"].get("generation", 1),
                "lastTransitionTime": held.get("lastTransitionTime") or timestamp(),
            }
            patch: dict[str, Any] = {"metadata": {"uid": pod.uid}, "status": {"conditions": [condition]}}
            if nominated is not None:
                patch["status"]["nominatedNodeName"] = nominated or None
            self._try(pod, lambda: self._client.patch_pod(pod.name, patch, pod.namespace, subresource="status"))
        self.event(pod, "Warning", "FailedScheduling", message)

    def nominated(self, pod: PodView, node: str) -> None:
        """Say on the pod that it waits to be bound to the node."""
        patch = {"metadata": {"uid": pod.uid}, "status": {"nominatedNodeName": node}}
        self._try(pod, lambda: self._client.patch_pod(pod.name, patch, pod.namespace, subresource="status"))

    def event(self, pod: PodView, kind: str, reason: str, message: str) -> None:
        """Write an Event, or count it when it was written before."""
        self._thread.submit(self._event, pod, kind, reason, message)

    def _event(self, pod: PodView, kind: str, reason: str, message: str) -> None:
        series = (pod.uid, reason, message)
        name, count = self._series.get(series, ("", 0))
        path = f"/api/v1/namespaces/{pod.namespace}/events"
        if count:
            patch = {"count": count + 1, "lastTimestamp": timestamp()}
            self._try(pod, lambda: self._client.request("PATCH", f"{path}/{name}", patch, content_type=STRATEGIC_PATCH))
        else:
            name = f"{pod.name}.{uuid.uuid4().hex[:16]}"
            body = self._event_body(pod, name, kind, reason, message)
            self._try(pod, lambda: self._client.request("POST", path, body))
        self._series.pop(series, None)
        self._series[series] = (name, count + 1)
        if len(self._series) > _SERIES_KEPT:
            del self._series[next(iter(self._series))]

    def _event_body(self, pod: PodView, name: str, kind: str, reason: str, message: str) -> dict[str, Any]:
        about = {"kind": "Pod", "apiVersion": "v1", "namespace": pod.namespace, "name": pod.name, "uid": pod.uid}
        return {
            "metadata": {"name": name, "namespace": pod.namespace},
            "involvedObject": about,
            "type": kind,
            "reason": reason,
            "message": message,
            "source": {"component": self._name},
            "reportingComponent": self._name,
            "firstTimestamp": timestamp(),
            "lastTimestamp": timestamp(),
            "count": 1,
        }

    def _try(self, pod: PodView, write: Any) -> None:
        try:
            write()
        except (FailureStatusError, UnreachableError) as error:
            _LOG.info("scheduler: nothing written about %s/%s: %s", pod.namespace, pod.name, error)
