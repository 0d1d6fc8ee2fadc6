"""Ends a day that hangs in the driver: a call into C that does not return cannot be stopped, only its process can."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from bench.gpu_day.results import StageOutcome, Status

GRACE_S = 30.0
"""How long after its last moment a step may still take before it counts as hanging."""

HUNG = 3
"""Exit status of a day that hung."""

Tell = Callable[[str, StageOutcome], None]
"""Told a step's name, and how it ended."""

Watch = Callable[[str, float], AbstractContextManager[None]]
"""Given a step's name and how many seconds it may take."""


def unwatched(_name: str, _limit_s: float) -> AbstractContextManager[None]:
    """Nothing is ended."""
    return nullcontext()


def watch_with(tell: Tell) -> Watch:
    """Ends this process, and with it its children, if a step hangs; before that, `tell` may keep what there is."""

    @contextmanager
    def watch(name: str, limit_s: float) -> Iterator[None]:
        ended = threading.Event()

        def wait() -> None:
            if ended.wait(limit_s + GRACE_S):
                return
            try:
                tell(name, StageOutcome(Status.FAILED, limit_s + GRACE_S, "it hung, and the day was ended"))
            finally:
                os._exit(HUNG)

        threading.Thread(target=wait, name="watchdog", daemon=True).start()
        try:
            yield
        finally:
            ended.set()

    return watch
