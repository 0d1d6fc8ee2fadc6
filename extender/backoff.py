"""From a count of failures in a row and a random draw to the seconds to wait before the next try."""

from dataclasses import dataclass

_DOUBLINGS = 32
"""More doublings than any cap needs; keeps the power small after days of failures."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait: between `first_s` and a ceiling that doubles with each failure up to `last_s`.

    The bounds are those of client-go's reflector (0.8 s to 30 s). The whole span is drawn from, so that many clients
    of one API server spread out, and never less than `first_s`, so that no failure becomes a hot loop.

    Raises:
        ValueError: not 0 < `first_s` <= `last_s`.
    """

    first_s: float = 0.8
    last_s: float = 30.0

    def __post_init__(self) -> None:
        if not 0 < self.first_s <= self.last_s:
            raise ValueError(f"backoff from {self.first_s} s to {self.last_s} s: expected 0 < first_s <= last_s")

    def delay_s(self, failures: int, draw: float) -> float:
        """Seconds to wait after `failures` (at least 1) failures in a row; `draw` is evenly random in [0, 1)."""
        ceiling_s = min(self.last_s, self.first_s * 2.0 ** min(max(failures, 1), _DOUBLINGS))
        return self.first_s + draw * (ceiling_s - self.first_s)
