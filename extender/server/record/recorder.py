"""Records decisions in a thread of its own: one log line each, in order, and an Event on the pod.

The thread that decides only puts the decision into a bounded queue. What finds no room there is counted and not logged;
the allocation itself is on the pod, written by the Binding.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from extender.contract.units import UnitMib
from extender.kube.events import News
from extender.kube.slices import Slices
from extender.server.record.decisions import Decided
from extender.server.record.sentences import line_of, news_of, sentence

LOGGER = "gpupack.decisions"
_LOG = logging.getLogger(LOGGER)
_LOG.setLevel(logging.INFO)  # decisions are logged whatever the level of everything else
MAX_WAITING = 16_384
AFTERWARDS_S = 0.25
"""The calls of a burst are answered first, and a thread that is woken less often costs them less."""


class Recorder:
    """Records until stopped; `record` may be called from many threads and never waits.

    Args:
        unit_mib: memory unit of the installation.
        announce: takes the Event of each decision, and returns at once.
        limit: decisions that may wait.
    """

    def __init__(self, unit_mib: UnitMib, announce: Callable[[News], None], limit: int = MAX_WAITING) -> None:
        self._unit_mib = unit_mib
        self._announce = announce
        self._limit = limit
        self._waiting: deque[Decided] = deque()
        self._due = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="decisions", daemon=True)
        self.dropped = 0

    def record(self, decided: Decided) -> None:
        """Record a decision; it is dropped when too many wait."""
        if len(self._waiting) >= self._limit:
            self.dropped += 1
            return
        self._waiting.append(decided)
        self._due.set()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Write what waits, for at most `timeout_s`, and end."""
        self._stopped = True
        self._due.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        slices = Slices()
        while True:
            if not self._stopped:
                self._due.wait(1.0)
            self._due.clear()
            stopped = self._stopped
            if not stopped:
                time.sleep(AFTERWARDS_S)
            while self._waiting:
                self._write(self._waiting.popleft())
                slices.breathe()
            if stopped:
                return

    def _write(self, decided: Decided) -> None:
        try:
            text = sentence(decided.decision, self._unit_mib)
            extra = {"decision": line_of(decided, self._unit_mib)}
            _LOG.info("%s/%s: %s", decided.namespace, decided.name, text, extra=extra)
            self._announce(news_of(decided, text))
        except Exception:
            # One decision that can't be recorded must not keep the others from it.
            logging.getLogger(__name__).exception("can't record the decision on %s/%s", decided.namespace, decided.name)
