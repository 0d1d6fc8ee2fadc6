"""Pace retries, and log a failure once when it starts or changes, and once when it ends."""

import logging
from dataclasses import dataclass

from extender.kube.errors import ApiError

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


_DENIED = (401, 403)


class FailureLog:
    """Remembers, per step of a loop, the failure that was logged last; the same one again goes to debug level.

    A loop that tries for hours leaves two lines at the default level, not one for each try.
    """

    def __init__(self, logger: logging.Logger, name: str) -> None:
        self._logger = logger
        self._name = name
        self._known: dict[str, tuple[str, int]] = {}

    def failed(self, step: str, error: Exception) -> None:
        """Note that `step` failed with `error`."""
        kind, level, hint = type(error).__name__, logging.WARNING, ""
        if isinstance(error, ApiError):
            kind = f"{error.status} {error.reason}"
            if error.status in _DENIED:
                level, hint = logging.ERROR, " (check the credentials, and what the ClusterRole allows)"
        known, tries = self._known.get(step, ("", 0))
        if known == kind:
            level = logging.DEBUG
        else:
            tries = 0
        self._known[step] = (kind, tries + 1)
        self._logger.log(level, "%s: %s failed: %s%s", self._name, step, error, hint)

    def succeeded(self, step: str) -> None:
        """Note that `step` works; logged only when it had failed."""
        if step in self._known:
            kind, tries = self._known.pop(step)
            self._logger.info("%s: %s recovered after %d failures (last: %s)", self._name, step, tries, kind)
