"""Takes GPUs out of use that another device plugin or a resource claim also gives to pods."""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping

from device_plugin.gpus.conflicts import Guest, conflicts
from device_plugin.kubelet.admissions import PodResourcesReader
from device_plugin.kubelet.podresources import PodResourcesError
from device_plugin.pods.events import Events
from device_plugin.pods.store import Rival
from device_plugin.sampling.feed import GpuFeed
from device_plugin.sampling.supervising import SupervisedSource
from extender.contract.units import GpuUuid

_LOG = logging.getLogger(__name__)

CONFLICT = "GPUConflict"
_TIMEOUT_S = 2.0


class Neighbours:
    """Looks regularly for others that give out our GPUs; `run` it in a thread of its own.

    While podresources cannot be read, what was last seen stays. A pod that was once seen on a GPU counts as using it
    for as long as it lives: its processes may pause.

    Args:
        podresources: the kubelet's record of who has which devices.
        source: where GPUs are taken out of use.
        feed: the GPUs.
        events: where conflicts are reported.
        interval_s: time between two looks.
        guests: UIDs of the pods that NVML shows on a GPU that we gave them nothing of.
        rival: the pod with a UID, if others may give it GPUs.
        clock_s: monotonic seconds.
    """

    def __init__(
        self,
        *,
        podresources: PodResourcesReader,
        source: SupervisedSource,
        feed: GpuFeed,
        events: Events,
        interval_s: float,
        guests: Callable[[], Mapping[GpuUuid, Collection[str]]] = dict,
        rival: Callable[[str], Rival | None] = lambda _: None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._podresources = podresources
        self._source = source
        self._feed = feed
        self._events = events
        self._interval_s = interval_s
        self._clock_s = clock_s
        self._guests = guests
        self._rival = rival
        self._seen: set[tuple[GpuUuid, str]] = set()
        self._unclear: frozenset[str] = frozenset()

    def run(self, stop: threading.Event) -> None:
        """Look again and again until told to stop."""
        while not stop.wait(self._interval_s):
            self.step()

    def step(self) -> bool:
        """Look once; returns whether the set of GPUs taken out of use changed."""
        gpus = self._feed.gpus
        if gpus is None:
            return False
        try:
            snapshot = self._podresources.read(self._clock_s() - self._interval_s / 2, _TIMEOUT_S)
        except PodResourcesError as error:
            _LOG.debug("other users of the GPUs are not known: %s", error)
            return False
        found = conflicts(snapshot.foreign, gpus, self._rivals())
        for text in sorted(set(found.unclear) - self._unclear):
            _LOG.error("%s: let only one of the two give out each GPU", text)
            self._events.about_node("Warning", CONFLICT, text)
        self._unclear = frozenset(found.unclear)
        if not self._source.conflict(found.gpus):
            return False
        for uuid, why in found.gpus.items():
            _LOG.error("GPU %s is not offered: %s; let only one device plugin give out each GPU", uuid, why)
        self._feed.soon()
        return True

    def _rivals(self) -> list[Guest]:
        """Pods that run on GPUs that we did not give them but others may have."""
        self._seen |= {(uuid, uid) for uuid, uids in self._guests().items() for uid in uids}
        known = {(uuid, uid): found for uuid, uid in self._seen if (found := self._rival(uid)) is not None}
        self._seen = set(known)
        return [Guest(uuid, pod.namespace, pod.name, pod.givers) for (uuid, _), pod in known.items()]
