"""Runs the plugin's loops in threads and ends the process when one of them dies, or at SIGTERM or SIGINT."""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from device_plugin.settings import SettingsError

_LOG = logging.getLogger(__name__)


class Loops:
    """The threads of one plugin.

    Every loop handles the failures that it expects. Any other exception is a bug: it is logged, the stop event is set,
    and the process ends with an error, so that its supervisor restarts it.
    """

    def __init__(self, stop: threading.Event, owner: str) -> None:
        self._stop = stop
        self._owner = owner
        self._threads: list[threading.Thread] = []
        self._failure: Exception | None = None

    def start(self, name: str, loop: Callable[[threading.Event], None]) -> None:
        """Run a loop in a thread of its own."""
        thread = threading.Thread(target=self._run, args=(name, loop), name=f"{self._owner}-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for all loops to end."""
        deadline_s = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))
            if thread.is_alive():
                _LOG.warning("%s does not stop", thread.name)

    def problem(self) -> str:
        """What killed a loop; empty when all run."""
        return "" if self._failure is None else f"{type(self._failure).__name__}: {self._failure}"

    def check(self) -> None:
        """Raise the error that killed a loop, if there is one.

        Raises:
            SettingsError: the settings turned out not to work.
            RuntimeError: a loop died of another error.
        """
        if isinstance(self._failure, SettingsError):
            raise self._failure
        if self._failure is not None:
            raise RuntimeError(self.problem()) from self._failure

    def _run(self, name: str, loop: Callable[[threading.Event], None]) -> None:
        try:
            loop(self._stop)
        except SettingsError as error:
            self._failure = error
            self._stop.set()
        except Exception as error:  # noqa: BLE001 - kept for `check`, which raises it in the thread that waits
            _LOG.exception("%s: loop %s died", self._owner, name)
            self._failure = error
            self._stop.set()


_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})


@contextmanager
def stopping_at_signals(stop: threading.Event) -> Iterator[None]:
    """Set `stop` at SIGTERM or SIGINT; start threads only inside, as they inherit that these signals are blocked.

    A thread waits for the signals, because a Python handler runs in the main thread between two instructions: it may
    find that thread inside the event's own lock, or just before a wait that the signal then no longer interrupts.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    over, woken = threading.Event(), threading.Event()

    def wait() -> None:
        while not over.is_set():
            # Not sigtimedwait: Python's returns what is no signal when SIGCONT interrupts it after its time.
            signal.sigwait(_SIGNALS)
            if not over.is_set():
                stop.set()
        # Until then it is woken by its number, which must not be another thread's yet.
        woken.wait()

    thread = threading.Thread(target=wait, name="signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        if thread.ident is not None:
            signal.pthread_kill(thread.ident, signal.SIGTERM)
        woken.set()
        thread.join()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
