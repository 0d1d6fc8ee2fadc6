"""Writes an Event on the node, and on each pod that uses the GPU, when the health of a GPU changes."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from device_plugin.gpus.gpu import Gpus, GpuSample
from device_plugin.pods.events import Events
from device_plugin.pods.pod import BoundPod
from device_plugin.pods.store import PodStore
from device_plugin.sampling.feed import GpuFeed
from extender.contract.units import GpuUuid

UNHEALTHY = "GPUUnhealthy"
HEALTHY = "GPUHealthy"
CORDONED = "GPUCordoned"
UNCORDONED = "GPUUncordoned"
_WAKE_UP_S = 1.0


@dataclass(frozen=True, slots=True)
class HealthChange:
    """A GPU that went out of service, came back, or is out for another reason; `reason` is the Event's."""

    gpu: GpuUuid
    reason: str
    text: str


def health_changes(before: Gpus | None, now: Gpus) -> tuple[HealthChange, ...]:
    """What changed in the health of each GPU; at the start only unhealthy ones count as changed."""
    found: list[HealthChange] = []
    for sample in now:
        old = None if before is None else before.get(sample.uuid)
        was = (True, "") if old is None else (old.healthy, old.reason)
        if was != (sample.healthy, sample.reason) and (was[0] != sample.healthy or not sample.healthy):
            found.append(_change(old, sample))
    if before is not None:
        gone = [old for old in before if now.get(old.uuid) is None]
        found += [HealthChange(old.uuid, UNHEALTHY, f"GPU {old.uuid} ({old.model}) is gone") for old in gone]
    return tuple(found)


def _change(old: GpuSample | None, now: GpuSample) -> HealthChange:
    if now.healthy:
        reason, state = UNCORDONED if old is not None and old.cordoned else HEALTHY, "is used again"
    elif now.cordoned:
        reason, state = CORDONED, f"is out of service: {now.reason}"
    else:
        reason, state = UNHEALTHY, f"is not used: {now.reason or 'unhealthy'}"
    return HealthChange(now.uuid, reason, f"GPU {now.uuid} ({now.model}) {state}")


def pods_on(uuid: GpuUuid, pods: Iterable[BoundPod]) -> list[BoundPod]:
    """The pods with a container on a GPU: where the kubelet put it or, before that, where it is planned."""
    return [
        pod
        for pod in pods
        if not pod.ended
        and any(uuid in (pod.allocated.get(need.name) or pod.plan.get(need.name, {})) for need in pod.needs)
    ]


class HealthReporter:
    """Follows the feed; `run` it in a thread of its own."""

    def __init__(self, feed: GpuFeed, pods: PodStore, events: Events) -> None:
        self._feed = feed
        self._pods = pods
        self._events = events

    def run(self, stop: threading.Event) -> None:
        """Report every change until told to stop."""
        version, before = 0, None
        while not stop.is_set():
            newest, now = self._feed.wait_newer(version, _WAKE_UP_S)
            if newest != version and now is not None:
                self.report(before, now)
                version, before = newest, now

    def report(self, before: Gpus | None, now: Gpus) -> None:
        """Write Events about what changed."""
        pods = self._pods.pods().values()
        for change in health_changes(before, now):
            level = "Warning" if change.reason == UNHEALTHY else "Normal"
            self._events.about_node(level, change.reason, change.text)
            for pod in pods_on(change.gpu, pods):
                self._events.about_pod(pod, level, change.reason, change.text)
