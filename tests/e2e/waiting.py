"""Waits for something in another process to become true, and says what was missing when it does not."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T | None], *, what: str, timeout_s: float = 60, pause_s: float = 0.05) -> T:
    """Call `condition` until its answer is true in Python's sense, and return that answer.

    Args:
        condition: asked again and again; None, False or an empty value means "not yet".
        what: what is waited for, in words, for the error message.
        timeout_s: how long to go on, in seconds.
        pause_s: how long to rest between two calls, in seconds.

    Raises:
        TimeoutError: the time is over; the message has `what` and the last answer.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout_s:g} s for {what}; the last answer was {answer!r}")
        time.sleep(pause_s)
