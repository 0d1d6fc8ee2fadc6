"""Keeps a GPU that was unhealthy out of use until it has been healthy for a while, and its reason from changing often.

Every change of a reason is written to the API server, and as Events: one that flaps would do that at every sample.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from extender.contract.units import GpuUuid

CHANGES = 3
"""How often the reason of one GPU may be replaced by another one in `WINDOW_S`; the last one then stays."""

WINDOW_S = 60.0


@dataclass(slots=True)
class _Shown:
    """The reason that is shown, and when the last ones were replaced by another one."""

    reason: str = ""
    _replaced_s: deque[float] = field(default_factory=lambda: deque(maxlen=CHANGES))

    def replaced(self, newest: str, now_s: float) -> str:
        """The reason to show from now on."""
        if self.reason and newest and newest != self.reason:
            if len(self._replaced_s) == CHANGES and now_s - self._replaced_s[0] < WINDOW_S:
                return self.reason
            self._replaced_s.append(now_s)
        self.reason = newest
        return newest


@dataclass(slots=True)
class Probation:
    """Remembers since when each GPU that was unhealthy has been healthy again; times come from the caller.

    Args:
        length_s: how long a GPU must be healthy before it is used again; 0 uses it at once.
    """

    length_s: float
    _unhealthy: dict[GpuUuid, str] = field(default_factory=dict)
    _healthy_since: dict[GpuUuid, float] = field(default_factory=dict)
    _shown: dict[GpuUuid, _Shown] = field(default_factory=dict)

    def judge(self, uuid: GpuUuid, *, healthy: bool, reason: str, now_s: float) -> str:
        """Why a GPU must not be used at this moment; empty when it may.

        That it must not is said at once, and why at first; another reason may come late.
        """
        newest = self._newest(uuid, healthy=healthy, reason=reason, now_s=now_s)
        return self._shown.setdefault(uuid, _Shown()).replaced(newest, now_s)

    def _newest(self, uuid: GpuUuid, *, healthy: bool, reason: str, now_s: float) -> str:
        if not healthy:
            self._unhealthy[uuid] = reason
            self._healthy_since.pop(uuid, None)
            return reason or "unhealthy"
        if uuid not in self._unhealthy:
            return ""
        since_s = self._healthy_since.setdefault(uuid, now_s)
        if now_s - since_s < self.length_s:
            # No countdown: a text that changes would be written to the API server every second.
            return f"on probation for {self.length_s:g} s after: {self._unhealthy[uuid] or 'unhealthy'}"
        del self._unhealthy[uuid], self._healthy_since[uuid]
        return ""

    def forget_others(self, uuids: Iterable[GpuUuid]) -> None:
        """Forget since when GPUs that are gone have been healthy, but not that they were unhealthy."""
        present = set(uuids)
        for uuid in self._healthy_since.keys() - present:
            del self._healthy_since[uuid]
        for uuid in self._shown.keys() - present:
            del self._shown[uuid]
