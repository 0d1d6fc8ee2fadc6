"""Counts the pods that the watch shows, and puts policies with new weights in force when the demand has changed.

Only the watch feeds the counts, not kube-scheduler's calls, so a standby that sees the same pods knows the same. A call
never waits for an estimate: it uses the policies that were in force when it began.
"""

import logging
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable

from extender.kube.slices import Slices
from extender.scheduling.learning.estimating import DemandCounter, differs, estimate
from extender.scheduling.learning.weights import UNLEARNED, Weights
from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.nodes.shape import NodeShape
from extender.server.state.state import State

_LOG = logging.getLogger(__name__)

CHECK_S = 5.0
"""How often the mix of node shapes is compared with the one before."""

PAUSE_S = 0.0006
"""Between two slices; nothing waits for an estimate."""

ANSWERS_A_STEP = 4
KEPT_SEEN = 1024
"""UIDs of counted pods that are kept at least; beyond that, about twice as many as there are pods."""


class Learning:
    """Runs in one thread until stopped; tests call `round` instead."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._counter = DemandCounter()
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()
        self._due = threading.Event()
        self._stop = threading.Event()
        self._weights = UNLEARNED
        self._shapes: Counter[NodeShape] = Counter()
        self._considered = 0
        self._slices = Slices(pause_s=PAUSE_S)
        self._thread = threading.Thread(target=self._run, name="learning", daemon=True)

    @property
    def weights(self) -> Weights:
        """The weights in force."""
        return self._weights

    @property
    def considered(self) -> int:
        """Pods that the latest estimate is based on, whether or not it was put in force."""
        return self._considered

    def observe(self, pods: Iterable[PodRecord]) -> None:
        """Count pods that the watch has shown; each once, in the order in which they were last changed."""
        asking = [pod for pod in pods if pod.request is not None and pod.request.demands]
        if len(asking) > 1:
            asking.sort(key=lambda pod: (pod.resource_version, pod.uid))
        with self._lock:
            for pod in asking:
                if pod.uid in self._seen:
                    self._seen.move_to_end(pod.uid)
                elif pod.request is not None:
                    self._seen[pod.uid] = None
                    self._forget_gone()
                    if self._counter.observe(pod.request):
                        self._due.set()

    def _forget_gone(self) -> None:
        """Forget counted pods that are gone; a list must not count those that are still there again.

        With each new pod the two seen longest ago are checked, so that never many are checked at once.
        """
        for _ in range(2):
            if len(self._seen) <= KEPT_SEEN:
                return
            uid, _ = self._seen.popitem(last=False)
            if self._state.pod(uid) is not None:
                self._seen[uid] = None

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End; wait at most `timeout_s` for an estimate that is being made."""
        self._stop.set()
        self._due.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._due.wait(CHECK_S)
            if self._stop.is_set():
                return
            try:
                self.round(force=False)
            except Exception:  # noqa: BLE001 (packing goes on with the weights in force)
                _LOG.exception("can't estimate new weights; the old ones stay in force")

    def round(self, *, force: bool) -> bool:
        """Estimate if enough pods have come, if the mix of nodes has changed, or by `force`.

        Return whether new weights were put in force.
        """
        shapes = self._state.shapes()
        due = self._due.is_set()
        self._due.clear()
        if not (due or force or shapes != self._shapes):
            return False
        self._slices.breathe()
        with self._lock:
            counts, seen = self._counter.counts(), self._counter.seen
        weights = estimate(counts, shapes, pause=self._slices.breathe)
        self._shapes = shapes
        worth_it = differs(self._weights, weights, pause=self._slices.breathe)
        if worth_it:
            self._weights = weights
            while not self._state.prepare(weights, ANSWERS_A_STEP):
                if self._stop.is_set():
                    return False
                self._slices.breathe()
        self._considered = seen
        if not worth_it:
            return False
        _LOG.info("weights learned from %d pods and %d nodes are in force", seen, shapes.total())
        return True
