"""A kubelet's podresources as a value that tests set, with its failures."""

import time

from device_plugin.kubelet.deciding.attributing import Entry
from device_plugin.kubelet.podresources import DeviceSnapshot, PodResourcesError


class FakePodResources:
    """Answers with `entries` and the pods that it knows, or fails while `problem` is set; counts the questions."""

    def __init__(self) -> None:
        self.entries: tuple[Entry, ...] = ()
        self.pods: frozenset[tuple[str, str]] = frozenset()
        self.problem = ""
        self.refuses = 0
        """How many of the next questions are refused."""
        self.reads = 0

    def read(self, newer_than_s: float, timeout_s: float) -> DeviceSnapshot:  # noqa: ARG002 - the answer is always new
        self.reads += 1
        if self.refuses:
            self.refuses -= 1
            raise PodResourcesError("rejected by rate limit")
        if self.problem:
            raise PodResourcesError(self.problem)
        return DeviceSnapshot(self.entries, time.monotonic(), pods=self.pods)
