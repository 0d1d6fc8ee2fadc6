"""Runs work in one thread, in order, now or later: the main loop of a simulated kubelet."""

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

Work = Callable[[], object]
_LOG = logging.getLogger(__name__)


class Agenda:
    """A thread with a list of things to do; `name` is the thread's."""

    def __init__(self, name: str) -> None:
        self._entries: list[tuple[float, int, Work]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what is running, drop the rest, and wait for the end."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(30)

    def call(self, work: Work) -> None:
        """Run `work` after everything that is due before it."""
        self.call_later(0.0, work)

    def call_later(self, delay_s: float, work: Work) -> None:
        """Run `work` in `delay_s` seconds."""
        with self._changed:
            heapq.heappush(self._entries, (time.monotonic() + delay_s, next(self._numbers), work))
            self._changed.notify()

    def _run(self) -> None:
        while True:
            work = self._next()
            if work is None:
                return
            try:
                work()
            except Exception:  # noqa: BLE001 - one failed step must not end the node
                _LOG.exception("%s: a step failed", self._thread.name)

    def _next(self) -> Work | None:
        with self._changed:
            while not self._stopped:
                wait_s = self._entries[0][0] - time.monotonic() if self._entries else None
                if wait_s is not None and wait_s <= 0:
                    return heapq.heappop(self._entries)[2]
                self._changed.wait(wait_s)
            return None
