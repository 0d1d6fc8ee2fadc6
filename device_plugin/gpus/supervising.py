"""From the GPUs as their source shows them to the GPUs as the plugin offers them: probation, cordon, conflicts, rungs.

It is a `GpuSource` around another one, so that everything behind it, devices, inventory, admission and metrics, sees
one truth.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from device_plugin.enforcing.ladder import Standing
from device_plugin.gpus.gpu import GpuSample, GpuSource
from extender.contract.units import GpuUuid


@dataclass(slots=True)
class Probation:
    """Remembers since when each GPU that was unhealthy has been well again; times come from the caller.

    Args:
        length_s: how long a GPU must be well before it is used again; 0 uses it at once.
    """

    length_s: float
    _ill: dict[GpuUuid, str] = field(default_factory=dict)
    _well_since: dict[GpuUuid, float] = field(default_factory=dict)

    def judge(self, uuid: GpuUuid, *, healthy: bool, reason: str, now_s: float) -> str:
        """Why a GPU is not to be used at this moment; empty when it is."""
        if not healthy:
            self._ill[uuid] = reason
            self._well_since.pop(uuid, None)
            return reason or "unhealthy"
        if uuid not in self._ill:
            return ""
        since_s = self._well_since.setdefault(uuid, now_s)
        if now_s - since_s < self.length_s:
            # No countdown: a text that changes would be news for the API server each second.
            return f"on probation for {self.length_s:g} s after: {self._ill[uuid] or 'unhealthy'}"
        del self._ill[uuid], self._well_since[uuid]
        return ""

    def forget_others(self, uuids: Iterable[GpuUuid]) -> None:
        """Forget the GPUs that are not there any more, except that they were unhealthy."""
        present = set(uuids)
        for uuid in self._well_since.keys() - present:
            del self._well_since[uuid]


class Standings(Protocol):
    """Who knows how shares are enforced on each GPU."""

    def standings(self, uuids: Iterable[GpuUuid]) -> Mapping[GpuUuid, Standing]:
        """The standing of these GPUs."""
        ...


class SupervisedSource:
    """The GPUs of `source` under supervision.

    Args:
        source: where they come from.
        standings: how shares are enforced on each.
        probation: what becomes of GPUs that were unhealthy.
        clock_s: monotonic seconds.
    """

    def __init__(
        self,
        source: GpuSource,
        standings: Standings,
        probation: Probation,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._standings = standings
        self._probation = probation
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._cordoned: frozenset[GpuUuid] = frozenset()
        self._conflicts: Mapping[GpuUuid, str] = {}

    def cordon(self, uuids: frozenset[GpuUuid]) -> bool:
        """Take exactly these GPUs out by hand; whether that is another set than before."""
        with self._lock:
            changed, self._cordoned = uuids != self._cordoned, uuids
        return changed

    def conflict(self, found: Mapping[GpuUuid, str]) -> bool:
        """Keep exactly these GPUs out because somebody else gives them out; whether that is news."""
        with self._lock:
            changed, self._conflicts = dict(found) != self._conflicts, dict(found)
        return changed

    def sample(self) -> tuple[GpuSample, ...]:
        """Every GPU, in the order of the source.

        Raises:
            GpuSourceError: nothing can be said about any GPU.
        """
        samples, now_s = self._source.sample(), self._clock_s()
        self._probation.forget_others([sample.uuid for sample in samples])
        with self._lock:
            cordoned, taken = self._cordoned, self._conflicts
        standings = self._standings.standings([sample.uuid for sample in samples])
        return tuple([self._judged(each, standings[each.uuid], cordoned, taken, now_s=now_s) for each in samples])

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
        # Probation looks at the GPU alone: one that comes back from a cordon or a conflict was never ill.
        reason = self._probation.judge(uuid, healthy=sample.healthy, reason=sample.reason, now_s=now_s)
        if not reason and uuid in taken:
            reason = f"given out by somebody else: {taken[uuid]}"
        if not reason and uuid in cordoned:
            reason = "cordoned by hand"
        return replace(sample, healthy=not reason, reason=reason, standing=standing)

    def close(self) -> None:
        """Release what the source holds."""
        self._source.close()
