"""A cluster in a replay: the shipped ledger, and for each kind of pod the nodes in the order of the policy's cost.

The choice is the one that `filter_nodes(...).best(1)` makes on the nodes where CPU and memory suffice, which
kube-scheduler sees to before it asks the extender. What was computed for a node holds until that node changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from bench.replay.mapping import UNIT_MIB
from extender.scheduling.binding import Plan, plan_on
from extender.scheduling.events import NodesListed, PodChanged, PodDeleted, PodRecord
from extender.scheduling.fitting import Fit, fit
from extender.scheduling.ledger import Ledger
from extender.scheduling.node import NodeInfo, NodeRecord
from extender.scheduling.policies.policy import Cost, Policy
from extender.scheduling.request import PodRequest


@dataclass(slots=True)
class _Standing:
    """Candidates of one kind of pod; entries whose node has changed since are dropped when they come up."""

    heap: list[tuple[Cost, int, int, Fit]]
    seen: int


class Cluster:
    """Nodes in one fixed order, which breaks ties; pods are placed and removed one at a time.

    Args:
        records: the nodes; their names must ascend, as ties are broken by name.
        policy: chooses among the nodes where a pod fits.
    """

    def __init__(self, records: Sequence[NodeRecord], policy: Policy) -> None:
        self.ledger = Ledger(UNIT_MIB)
        self.ledger.apply(NodesListed(tuple(records), 1))
        self._policy = policy
        self._names = [record.name for record in records]
        self._positions = {name: at for at, name in enumerate(self._names)}
        self._changes: list[int] = []
        self._versions = [0] * len(records)
        self._standings: dict[PodRequest, _Standing] = {}
        self._clock = 1
        self._nodes = self.ledger.snapshot().nodes
        self.evaluations = 0

    @property
    def nodes(self) -> Sequence[NodeInfo]:
        """All nodes as they are now."""
        return [self._nodes[name] for name in self._names]

    def adopt(self, policy: Policy) -> None:
        """Use another policy from now on."""
        self._policy = policy
        self._standings.clear()

    def place(self, uid: str, request: PodRequest) -> Plan | None:
        """Place the pod on the best node; None when it fits nowhere."""
        best = self._best(request)
        if best is None:
            return None
        node, answer = best
        plan = plan_on(node, request, answer, unit_mib=UNIT_MIB)
        self._clock += 1
        pod = PodRecord(
            uid=uid,
            resource_version=self._clock,
            node=node.name,
            request=request,
            footprint=plan.footprint,
            cpu_milli=request.cpu_milli,
            memory_bytes=request.memory_bytes,
        )
        self.ledger.apply(PodChanged(pod))
        self._note(node.name)
        return plan

    def remove(self, uid: str) -> None:
        """The pod has ended."""
        node = self.ledger.pods[uid].node
        self.ledger.apply(PodDeleted(uid))
        self._note(node)

    def _note(self, name: str) -> None:
        at = self._positions[name]
        self._versions[at] += 1
        self._changes.append(at)

    def _best(self, request: PodRequest) -> tuple[NodeInfo, Fit] | None:
        standing = self._standings.get(request)
        if standing is None:
            standing = self._standings[request] = _Standing([], len(self._changes))
            self._judge(request, range(len(self._names)), standing)
        elif standing.seen < len(self._changes):
            changed = set(self._changes[standing.seen :])
            standing.seen = len(self._changes)
            self._judge(request, changed, standing)
        heap, versions = standing.heap, self._versions
        while heap:
            _, at, version, answer = heap[0]
            if versions[at] == version:
                return self._nodes[self._names[at]], answer
            heappop(heap)
        return None

    def _judge(self, request: PodRequest, positions: "range | set[int]", standing: _Standing) -> None:
        cpu_milli, memory_bytes = request.cpu_milli, request.memory_bytes
        heap, names, nodes, versions, policy = standing.heap, self._names, self._nodes, self._versions, self._policy
        for at in positions:
            node = nodes[names[at]]
            if node.cpu_free_milli < cpu_milli or node.memory_free_bytes < memory_bytes:
                continue
            self.evaluations += 1
            answer = fit(node, request, policy)
            if isinstance(answer, Fit):
                heappush(heap, (answer.cost, at, versions[at], answer))
