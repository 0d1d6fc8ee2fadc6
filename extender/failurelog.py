"""From failures and successes to few log lines: one when a failure is new or another one, one when it is over."""

import logging

from extender.apierrors import ApiError

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
            self._logger.info("%s: %s works again after %d failures, last: %s", self._name, step, tries, kind)
