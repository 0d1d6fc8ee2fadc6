"""Waits until a condition holds, and says what was missing when it does not in time."""

import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")
_PAUSE_S = 0.02


def wait_until(condition: Callable[[], _T | None], what: str = "the condition", *, timeout_s: float = 60.0) -> _T:
    """Poll `condition` until it returns something true, and return that.

    Raises:
        TimeoutError: it did not within `timeout_s`; the message has `what` and the last answer.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout_s:g} s for {what}; the last answer was {answer!r}")
        time.sleep(_PAUSE_S)
