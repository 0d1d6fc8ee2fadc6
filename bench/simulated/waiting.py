"""From a condition to the moment it holds, with a deadline: what tests and the simulation wait with."""

import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")
_PAUSE_S = 0.02


class WaitTimeoutError(Exception):
    """A condition did not come true in time."""


def wait_until(condition: Callable[[], _T | None], what: str, *, timeout_s: float = 30.0) -> _T:
    """Ask `condition` again and again until it answers something true, and return that.

    Raises:
        WaitTimeoutError: it did not within `timeout_s`; the message says `what` was waited for and the last answer.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise WaitTimeoutError(f"waited {timeout_s:g} s for {what}; the last answer was {answer!r}")
        time.sleep(_PAUSE_S)
