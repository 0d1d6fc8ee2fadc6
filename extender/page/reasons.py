"""From a pod that waits to how many nodes refuse it and why, from a snapshot.

Nodes that did not change since the last view are not asked again.
"""

import time
from collections import Counter
from collections.abc import Callable

from extender.page.tiles import NODES_A_BREATH
from extender.scheduling.events import PodRecord
from extender.scheduling.fit_table import FitTable
from extender.scheduling.fitting import Fit
from extender.scheduling.policies.policy import Policy
from extender.scheduling.request import PodRequest
from extender.scheduling.snapshot import Snapshot

MAX_KINDS = 32
BUDGET_S = 0.3
"""After so long no further kind of request is looked at for one view; its pods show their latest decision."""

FITS = "would do: kube-scheduler has not asked again, or its own filters (CPU, taints, affinity, ...) say no"


class Reasons:
    """Answers of one page; its owner serializes the calls."""

    def __init__(
        self,
        policy_of: Callable[[PodRequest], Policy],
        breathe: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy_of = policy_of
        self._breathe = breathe
        self._clock = clock
        self._table = FitTable(MAX_KINDS)

    def on(self, snapshot: Snapshot) -> Callable[[PodRecord], tuple[tuple[str, int], ...]]:
        """What to ask about pods while this snapshot is shown."""
        known: dict[PodRequest, tuple[tuple[str, int], ...]] = {}
        until_s = self._clock() + BUDGET_S

        def why(pod: PodRecord) -> tuple[tuple[str, int], ...]:
            request = pod.request
            if request is None:
                return ()
            if request not in known:
                if len(known) >= MAX_KINDS or self._clock() >= until_s:
                    return ()
                known[request] = self._counted(snapshot, request)
            return known[request]

        return why

    def _counted(self, snapshot: Snapshot, request: PodRequest) -> tuple[tuple[str, int], ...]:
        answers = self._table.answers(request, self._policy_of(request))
        counts: Counter[str] = Counter()
        for at, node in enumerate(snapshot.nodes.values()):
            answer = answers.get(node)
            counts[FITS if isinstance(answer, Fit) else answer.text] += 1
            if at % NODES_A_BREATH == 0:
                self._breathe()
        answers.prune(set(snapshot.nodes))
        return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
