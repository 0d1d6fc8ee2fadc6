"""From SIGTERM and SIGINT to a set event."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})
_LOOK_S = 0.5


@contextmanager
def stopping_at_signals(stop: threading.Event) -> Iterator[None]:
    """Set `stop` at SIGTERM or SIGINT; start threads only inside, as they inherit that these signals are blocked.

    A thread waits for the signals, because a Python handler runs in the main thread between two instructions: it may
    find that thread inside the event's own lock, or just before a wait that the signal then no longer interrupts.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    over = threading.Event()

    def wait() -> None:
        while not over.is_set():
            if signal.sigtimedwait(_SIGNALS, _LOOK_S) is not None:
                stop.set()

    thread = threading.Thread(target=wait, name="signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
