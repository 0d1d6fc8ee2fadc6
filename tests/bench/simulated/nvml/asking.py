"""Asks the simulated driver through the real binding, for tests."""

from collections.abc import Callable
from typing import Any

import pynvml


def code_of(call: Callable[..., Any], *arguments: Any) -> int:
    """What a call fails with, 0 when it does not."""
    try:
        call(*arguments)
    except pynvml.NVMLError as error:
        return int(error.value)
    return 0
