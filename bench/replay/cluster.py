"""A cluster in a replay: the shipped ledger, and for each kind of pod the nodes in the order of the policy's cost.

The choice is the one that `filter_nodes(...).best(1)` makes on the nodes where CPU and memory suffice, which
kube-scheduler sees to before it asks the extender. What was computed for a node holds until that node changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from random import Random

from bench.replay.mapping import UNIT_MIB
from extender.contract.units import UnitMib
from extender.scheduling.binding import Plan, plan_on
from extender.scheduling.events import NodesListed, PodChanged, PodDeleted, PodRecord
from extender.scheduling.fitting import Fit, try_fit
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
        records: the nodes in the order that breaks ties; a live extender breaks them by name.
        policy: chooses among the nodes where a pod fits.
        random_seed: break ties at random with this seed, instead of by the order of nodes.
        unit_mib: memory unit of the nodes.
    """

    def __init__(
        self,
        records: Sequence[NodeRecord],
        policy: Policy,
        *,
        random_seed: int | None = None,
        unit_mib: UnitMib = UNIT_MIB,
    ) -> None:
        self.ledger = Ledger(unit_mib)
        self.ledger.apply(NodesListed(tuple(records), 1))
        self._policy = policy
        self._names = [record.name for record in records]
        self._positions = {name: at for at, name in enumerate(self._names)}
        kinds: dict[NodeRecord, int] = {}
        self._kinds = [kinds.setdefault(replace(record, name="", uid=""), len(kinds)) for record in records]
        self._changes: list[int] = []
        self._versions = [0] * len(records)
        self._standings: dict[PodRequest, _Standing] = {}
        self._clock = 1
        self._random = None if random_seed is None else Random(random_seed)
        self._nodes = self.ledger.snapshot().nodes
        self.evaluations = 0

    @property
    def nodes(self) -> Sequence[NodeInfo]:
        """All nodes as they are now."""
        return [self._nodes[name] for name in self._names]

    def node(self, name: str) -> NodeInfo:
        """One node as it is now."""
        return self._nodes[name]

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
        plan = plan_on(node, request, answer, unit_mib=self.ledger.unit_mib)
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
        at_best = self._first(standing) if self._random is None else self._any(standing, self._random)
        return None if at_best is None else (self._nodes[self._names[at_best[0]]], at_best[1])

    def _first(self, standing: _Standing) -> tuple[int, Fit] | None:
        heap, versions = standing.heap, self._versions
        while heap:
            _, at, version, answer = heap[0]
            if versions[at] == version:
                return at, answer
            heappop(heap)
        return None

    def _any(self, standing: _Standing, random: Random) -> tuple[int, Fit] | None:
        standing.heap = [entry for entry in standing.heap if self._versions[entry[1]] == entry[2]]
        lowest = min((entry[0] for entry in standing.heap), default=None)
        tied = [(at, answer) for cost, at, _, answer in standing.heap if cost == lowest]
        return random.choice(tied) if tied else None

    def _judge(self, request: PodRequest, positions: "range | set[int]", standing: _Standing) -> None:
        cpu_milli, memory_bytes = request.cpu_milli, request.memory_bytes
        heap, names, nodes, versions, policy = standing.heap, self._names, self._nodes, self._versions, self._policy
        empty: dict[int, Fit | None] = {}
        for at in positions:
            node = nodes[names[at]]
            if node.cpu_free_milli < cpu_milli or node.memory_free_bytes < memory_bytes:
                continue
            kind = self._kinds[at]
            if not node.holders and kind in empty:
                answer = empty[kind]  # policies are blind to names: empty nodes of one kind are all alike
            else:
                self.evaluations += 1
                answer = try_fit(node, request, policy)
                if not node.holders:
                    empty[kind] = answer
            if answer is not None:
                heappush(heap, (answer.cost, at, versions[at], answer))
