"""From memory in use outside of the ledger, as measured, to what the inventory annotation is to say, and when.

The extender counts whole units, and a begun one as used; so only a change of whole units is news. What grew is
published soon, what shrank only after it stayed low for a while and clearly below the unit, so that noise at the edge
of a unit is not a write. Times come from the caller.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from extender.contract.units import GpuUuid, UnitMib

DEFAULT_FLOOR_S = 30.0
SHRINK_AFTER_S = 60.0
_MARGIN_PARTS = 8


@dataclass(slots=True)
class OutsideUse:
    """Remembers since when each GPU has been below what was published.

    Args:
        unit_mib: size of a memory unit.
        floor_s: least time between two writes for the sake of memory in use.
    """

    unit_mib: UnitMib
    floor_s: float = DEFAULT_FLOOR_S
    _low_since: dict[GpuUuid, float] = field(default_factory=dict)
    _written_s: float | None = None

    def wanted(
        self, published: Mapping[GpuUuid, int], measured: Mapping[GpuUuid, int], now_s: float
    ) -> dict[GpuUuid, int]:
        """MiB that each GPU is to be published with; those that are not measured stay as they are."""
        self._low_since = {uuid: since_s for uuid, since_s in self._low_since.items() if uuid in measured}
        return {
            **published,
            **{uuid: self._one(uuid, published.get(uuid), now, now_s) for uuid, now in measured.items()},
        }

    def _one(self, uuid: GpuUuid, published: int | None, now: int, now_s: float) -> int:
        if published is None or self._units(now) > self._units(published):
            self._low_since.pop(uuid, None)
            return now
        if now > self._low_mark(published):
            self._low_since.pop(uuid, None)
            return published
        since_s = self._low_since.setdefault(uuid, now_s)
        return now if now_s - since_s >= SHRINK_AFTER_S else published

    def _units(self, memory_mib: int) -> int:
        return -(-memory_mib // self.unit_mib)

    def _low_mark(self, published: int) -> int:
        """At or below it a unit fewer is in use, and not by a hair; nothing at all is always clear."""
        return max(
            0 if published else -1, (self._units(published) - 1) * self.unit_mib - self.unit_mib // _MARGIN_PARTS
        )

    def wait_s(self, now_s: float) -> float:
        """Seconds until a write for the sake of memory in use is allowed; 0 when it is."""
        return 0.0 if self._written_s is None else max(0.0, self._written_s + self.floor_s - now_s)

    def next_change_s(self, now_s: float) -> float | None:
        """Seconds until something that shrank will have been low for long enough; None when nothing did."""
        left_s = [since_s + SHRINK_AFTER_S - now_s for since_s in self._low_since.values()]
        return max(0.0, min(left_s)) if left_s else None

    def written(self, now_s: float) -> None:
        """A change of memory in use was written."""
        self._written_s = now_s
        self._low_since.clear()
