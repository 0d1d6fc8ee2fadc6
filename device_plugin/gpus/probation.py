"""Keeps a GPU that was unhealthy out of use until it has been healthy for a while."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from extender.contract.units import GpuUuid


@dataclass(slots=True)
class Probation:
    """Remembers since when each GPU that was unhealthy has been healthy again; times come from the caller.

    Args:
        length_s: how long a GPU must be healthy before it is used again; 0 uses it at once.
    """

    length_s: float
    _unhealthy: dict[GpuUuid, str] = field(default_factory=dict)
    _healthy_since: dict[GpuUuid, float] = field(default_factory=dict)

    def judge(self, uuid: GpuUuid, *, healthy: bool, reason: str, now_s: float) -> str:
        """Why a GPU must not be used at this moment; empty when it may."""
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
