"""Counts for a waiting pod how many nodes refuse it and why.

Nodes that did not change since the last view are not judged again.
"""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable

from extender.scheduling.fitting.judging import judge
from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.nodes.snapshot import Snapshot
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Policy
from extender.server.page.tiles import NODES_A_SLICE

MAX_KINDS = 16
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
        # Texts alone: what fits where, for thousands of nodes and many kinds, would be a second ledger.
        self._known: OrderedDict[tuple[PodRequest, Policy], dict[str, tuple[NodeInfo, str]]] = OrderedDict()

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
        policy = self._policy_of(request)
        before = self._known.pop((request, policy), {})
        now: dict[str, tuple[NodeInfo, str]] = {}
        for at, (name, node) in enumerate(snapshot.nodes.items()):
            known = before.get(name)
            now[name] = known if known is not None and known[0] is node else (node, _text(node, request, policy))
            if at % NODES_A_SLICE == 0:
                self._breathe()
        self._known[request, policy] = now
        if len(self._known) > MAX_KINDS:
            self._known.popitem(last=False)
        counts = Counter(text for _, text in now.values())
        return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _text(node: NodeInfo, request: PodRequest, policy: Policy) -> str:
    why = judge(node, request, policy).misfit
    return FITS if why is None else why.text
