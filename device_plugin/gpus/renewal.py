"""Decides when to start NVML anew for the sake of GPUs that it calls lost.

NVML does not see in one session that a GPU came back, after a reset or a repair: it must be shut down and started.
"""

from dataclasses import dataclass

FIRST_S = 60.0
LAST_S = 960.0


@dataclass(slots=True)
class Renewal:
    """Remembers since when there are lost GPUs; times are monotonic and come from the caller."""

    _pause_s: float = FIRST_S
    _next_s: float | None = None

    def is_due(self, now_s: float, *, has_lost: bool) -> bool:
        """Whether NVML should be started anew now; it is then due again after a pause that doubles, to 16 minutes."""
        if not has_lost:
            self._pause_s, self._next_s = FIRST_S, None
            return False
        if self._next_s is None:
            self._next_s = now_s + self._pause_s
        if now_s < self._next_s:
            return False
        self._pause_s = min(LAST_S, 2 * self._pause_s)
        self._next_s = now_s + self._pause_s
        return True
