"""From a count of failures in a row and a random draw to the seconds to wait before the next try."""

from dataclasses import dataclass

_MOST_DOUBLINGS = 32


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double from `first_s` to `last_s`, half of each drawn at random so that nodes do not retry in step.

    Raises:
        ValueError: not 0 < first_s <= last_s.
    """

    first_s: float
    last_s: float

    def __post_init__(self) -> None:
        if not 0 < self.first_s <= self.last_s:
            raise ValueError(f"backoff from {self.first_s} s to {self.last_s} s: expected 0 < first_s <= last_s")

    def delay_s(self, failures: int, draw: float) -> float:
        """Seconds to wait after `failures` (from 1) in a row; `draw` is random in [0, 1)."""
        longest_s = min(self.last_s, self.first_s * 2.0 ** min(max(failures, 1) - 1, _MOST_DOUBLINGS))
        return longest_s * (0.5 + draw / 2)
