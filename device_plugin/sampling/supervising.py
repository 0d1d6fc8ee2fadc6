"""Wraps a GPU source and decides which of its GPUs are offered, by probation, cordons and conflicts.

It is a `GpuSource` itself, so devices, inventory, admission and metrics all see the same state.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Protocol

from device_plugin.gpus.gpu import GpuSample, GpuSource, GpuSourceError
from device_plugin.gpus.probation import Probation
from device_plugin.gpus.remembering import EarlierGpus
from device_plugin.gpus.standing import Standing
from extender.contract.cordon import BY_HAND, names_of
from extender.contract.units import GpuUuid


class Standings(Protocol):
    """Knows how shares are enforced on each GPU."""

    def standings(self, uuids: Iterable[GpuUuid]) -> Mapping[GpuUuid, Standing]:
        """The standing of these GPUs."""
        ...


class SupervisedSource:
    """The GPUs of `source`, without those that must not be used.

    Args:
        source: the GPUs as they are.
        standings: how shares are enforced on each.
        probation: delays the return of GPUs that were unhealthy.
        clock_s: monotonic seconds.
        earlier: GPUs that pods have and that `source` has not shown yet; they are added.
    """

    def __init__(
        self,
        source: GpuSource,
        standings: Standings,
        probation: Probation,
        clock_s: Callable[[], float] = time.monotonic,
        earlier: EarlierGpus | None = None,
    ) -> None:
        self._source = source
        self._standings = standings
        self._probation = probation
        self._earlier = earlier or EarlierGpus()
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._cordoned: frozenset[GpuUuid] = frozenset()
        self._conflicts: Mapping[GpuUuid, str] = {}
        self._known: tuple[GpuSample, ...] = ()

    def cordon(self, uuids: frozenset[GpuUuid]) -> bool:
        """Take exactly these GPUs out of use by hand, with all their MIG devices; returns whether the set changed."""
        with self._lock:
            changed, self._cordoned = uuids != self._cordoned, uuids
        return changed

    def conflict(self, found: Mapping[GpuUuid, str]) -> bool:
        """Take exactly these GPUs out of use because others give them out; returns whether that changed."""
        with self._lock:
            changed, self._conflicts = dict(found) != self._conflicts, dict(found)
        return changed

    def are_cordoned(self, samples: Iterable[GpuSample]) -> bool:
        """Whether all these GPUs are taken out of use by hand."""
        with self._lock:
            cordoned = self._cordoned
        return all(_is_cordoned(sample, cordoned) for sample in samples)

    def sample(self) -> tuple[GpuSample, ...]:
        """Every GPU, in the order of the source.

        Raises:
            GpuSourceError: no GPU can be read.
        """
        try:
            shown = self._source.sample()
        except GpuSourceError as error:
            error.known = self._lost(str(error))
            raise
        self._earlier.see(shown)
        missing = self._earlier.missing(shown)
        self._known = tuple(sorted((*shown, *missing), key=lambda sample: sample.rank)) if missing else shown
        now_s, uuids = self._clock_s(), [sample.uuid for sample in self._known]
        self._probation.forget_others(uuids)
        with self._lock:
            cordoned, taken = self._cordoned, self._conflicts
        standings = self._standings.standings(uuids)
        return tuple([self._judged(each, standings[each.uuid], cordoned, taken, now_s=now_s) for each in self._known])

    def _lost(self, reason: str) -> tuple[GpuSample, ...]:
        """The known GPUs, none of which can be read any more; when they come back, they are on probation."""
        now_s = self._clock_s()
        standings = self._standings.standings([sample.uuid for sample in self._known])
        whys = [self._probation.judge(each.uuid, healthy=False, reason=reason, now_s=now_s) for each in self._known]
        return tuple(
            replace(sample, healthy=False, reason=why, standing=standings[sample.uuid])
            for sample, why in zip(self._known, whys, strict=True)
        )

    def _judged(
        self,
        sample: GpuSample,
        standing: Standing,
        cordoned: frozenset[GpuUuid],
        taken: Mapping[GpuUuid, str],
        *,
        now_s: float,
    ) -> GpuSample:
        uuid = sample.uuid
        # Probation looks at the GPU alone: one that comes back from a cordon or a conflict was never unhealthy.
        reason = self._probation.judge(uuid, healthy=sample.healthy, reason=sample.reason, now_s=now_s)
        if not reason and uuid in taken:
            reason = f"also given out by another plugin: {taken[uuid]}"
        if not reason and _is_cordoned(sample, cordoned):
            reason = BY_HAND
        return replace(sample, healthy=not reason, reason=reason, standing=standing)

    def close(self) -> None:
        """Release what the source holds."""
        self._source.close()


def _is_cordoned(sample: GpuSample, cordoned: frozenset[GpuUuid]) -> bool:
    return not cordoned.isdisjoint(names_of(sample.uuid, sample.mig))
