"""Waiting for what another thread does, with a limit."""

import time
from collections.abc import Callable

TIMEOUT_S = 40.0


def until(condition: Callable[[], object], timeout_s: float = TIMEOUT_S) -> None:
    """Return as soon as the condition holds; fail when it does not in time."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {timeout_s} s"
        time.sleep(0.01)
