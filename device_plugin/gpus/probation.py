"""Keeps a GPU that was unhealthy out of use until it has been healthy for a while."""

from collections.abc import Iterable
from dataclasses import dataclass, field

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
