"""Places pods one after another on a ledger: for each kind of pod the nodes in the order of the policy's cost.

The choice is the one that filter makes on the nodes that kube-scheduler would show the extender:
those that are open and eligible, and where CPU, memory and the number of pods suffice. What was computed for a node
stays valid until that node changes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from typing import Protocol, TypeVar

from msgspec import structs

from extender.capacity.eligibility import ANYWHERE, Constraints, NodeTraits, ineligible
from extender.contract.units import UnitMib
from extender.scheduling.fitting.fitting import Fit, try_fit
from extender.scheduling.ledger.binding import Plan, plan_on
from extender.scheduling.ledger.events import NodesListed, PodChanged, PodDeleted, PodRecord
from extender.scheduling.ledger.ledger import Ledger
from extender.scheduling.nodes.node import NodeInfo, NodeRecord
from extender.scheduling.pods.footprint import Footprint
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Cost, Policy

_Any = TypeVar("_Any")


class Draws(Protocol):
    """What breaks ties at random, such as `random.Random`."""

    def choice(self, seq: Sequence[_Any], /) -> _Any:
        """One of them."""
        ...


@dataclass(slots=True)
class _Standing:
    """Candidates of one kind of pod; entries whose node has changed since are dropped when they come up."""

    heap: list[tuple[Cost, int, int, Fit]]
    seen: int


class Packing:
    """Nodes in one fixed order, which breaks ties; pods are placed, moved and removed one at a time.

    Args:
        records: the nodes in the order that breaks ties; a live extender breaks them by name.
        policy: chooses among the nodes where a pod fits.
        unit_mib: memory unit of the nodes.
        draws: break ties at random, instead of by the order of nodes.
        own: policies by name, for pods that ask for one; without it all are placed by `policy`.
        traits: what nodes say of themselves; one that is missing takes any pod, and any number of them.
    """

    def __init__(
        self,
        records: Sequence[NodeRecord],
        policy: Policy,
        *,
        unit_mib: UnitMib,
        draws: Draws | None = None,
        own: Mapping[str, Policy] | None = None,
        traits: Mapping[str, NodeTraits] | None = None,
    ) -> None:
        self.ledger = Ledger(unit_mib)
        self.ledger.apply(NodesListed(tuple(records), 1))
        self._policy = policy
        self._own = own or {}
        self._names = [record.name for record in records]
        self._positions = {name: at for at, name in enumerate(self._names)}
        self._traits = [(traits or {}).get(name) for name in self._names]
        self._has_traits = bool(traits)
        kinds: dict[NodeRecord, int] = {}
        self._kinds = [kinds.setdefault(replace(record, name="", uid=""), len(kinds)) for record in records]
        self._changes: list[int] = []
        self._versions = [0] * len(records)
        self._closed: set[int] = set()
        self._standings: dict[tuple[PodRequest, Constraints], _Standing] = {}
        self._clock = 1
        self._draws = draws
        self._nodes = self.ledger.snapshot().nodes
        self.evaluations = 0

    @property
    def nodes(self) -> Sequence[NodeInfo]:
        """All nodes as they are now."""
        return [self._nodes[name] for name in self._names]

    def node(self, name: str) -> NodeInfo:
        """One node as it is now."""
        return self._nodes[name]

    def traits(self, name: str) -> NodeTraits:
        """What a node says of itself."""
        return self._traits[self._positions[name]] or NodeTraits(name)

    def is_open(self, name: str) -> bool:
        """Whether pods may be placed there."""
        return self._positions[name] not in self._closed

    def policy_of(self, request: PodRequest) -> Policy:
        """The policy that places this request."""
        return self._own.get(request.policy, self._policy) if request.policy else self._policy

    def adopt(self, policy: Policy) -> None:
        """Use another policy from now on."""
        self._policy = policy
        self._standings.clear()

    def close(self, names: Iterable[str]) -> None:
        """Place no pod on these nodes until they are opened again."""
        for name in names:
            self._closed.add(self._positions[name])
            self._note(name)

    def open(self, names: Iterable[str]) -> None:
        """Place pods on these nodes again."""
        for name in names:
            self._closed.discard(self._positions[name])
            self._note(name)

    def place(self, uid: str, request: PodRequest, constraints: Constraints = ANYWHERE) -> Plan | None:
        """Place a pod that asks for GPUs on the best node; None when it fits nowhere.

        A pod that is somewhere already moves; its own place does not count as free.
        """
        best = self._best(request, constraints)
        if best is None:
            return None
        node, answer = best
        plan = plan_on(node, request, answer, unit_mib=self.ledger.unit_mib)
        self._clock += 1
        known = self.ledger.pods.get(uid)
        self._charge(
            PodRecord(
                uid=uid,
                resource_version=self._clock if known is None else known.resource_version + 1,
                node=node.name,
                request=request,
                footprint=plan.footprint,
                cpu_milli=request.cpu_milli,
                memory_bytes=request.memory_bytes,
            ),
            known,
        )
        return plan

    def place_plain(self, uid: str, request: PodRequest, constraints: Constraints = ANYWHERE) -> str | None:
        """Place a pod that asks for no GPU where most CPU is free, as kube-scheduler's LeastAllocated tends to.

        The name of the node; None when it fits nowhere.
        """
        roomy = [
            (node.record.cpu_milli and node.cpu_free_milli / node.record.cpu_milli, -at, node.name)
            for at, node in enumerate(self.nodes)
            if self._admits(at, node, request, constraints)
        ]
        if not roomy:
            return None
        name = max(roomy)[2]
        self._clock += 1
        pod = PodRecord(
            uid=uid,
            resource_version=self._clock,
            cpu_milli=request.cpu_milli,
            memory_bytes=request.memory_bytes,
        )
        self.put(pod, name, None)
        return name

    def put(self, pod: PodRecord, node: str, footprint: Footprint | None) -> None:
        """Charge a pod to a node, whether it fits there or not."""
        known = self.ledger.pods.get(pod.uid)
        version = max(pod.resource_version, known.resource_version + 1 if known is not None else 0)
        self._charge(structs.replace(pod, resource_version=version, node=node, footprint=footprint), known)

    def _charge(self, pod: PodRecord, known: PodRecord | None) -> None:
        self.ledger.apply(PodChanged(pod))
        self._note(pod.node)
        if known is not None and known.node and known.node != pod.node:
            self._note(known.node)

    def remove(self, uid: str) -> None:
        """The pod has ended."""
        node = self.ledger.pods[uid].node
        self.ledger.apply(PodDeleted(uid))
        self._note(node)

    def _note(self, name: str) -> None:
        at = self._positions.get(name)
        if at is None:
            return  # bound to a node that is gone
        self._versions[at] += 1
        self._changes.append(at)

    def _best(self, request: PodRequest, constraints: Constraints) -> tuple[NodeInfo, Fit] | None:
        kind = (request, constraints)
        standing = self._standings.get(kind)
        if standing is None:
            standing = self._standings[kind] = _Standing([], len(self._changes))
            self._judge(request, constraints, range(len(self._names)), standing)
        elif standing.seen < len(self._changes):
            changed = set(self._changes[standing.seen :])
            standing.seen = len(self._changes)
            self._judge(request, constraints, changed, standing)
        at_best = self._first(standing) if self._draws is None else self._any(standing, self._draws)
        return None if at_best is None else (self._nodes[self._names[at_best[0]]], at_best[1])

    def _first(self, standing: _Standing) -> tuple[int, Fit] | None:
        heap, versions = standing.heap, self._versions
        while heap:
            _, at, version, answer = heap[0]
            if versions[at] == version:
                return at, answer
            heappop(heap)
        return None

    def _any(self, standing: _Standing, draws: Draws) -> tuple[int, Fit] | None:
        standing.heap = [entry for entry in standing.heap if self._versions[entry[1]] == entry[2]]
        lowest = min((entry[0] for entry in standing.heap), default=None)
        tied = [(at, answer) for cost, at, _, answer in standing.heap if cost == lowest]
        return draws.choice(tied) if tied else None

    def _judge(
        self, request: PodRequest, constraints: Constraints, positions: range | set[int], standing: _Standing
    ) -> None:
        heap, names, nodes, versions = standing.heap, self._names, self._nodes, self._versions
        cpu_milli, memory_bytes = request.cpu_milli, request.memory_bytes
        policy = self.policy_of(request)
        restricted = bool(self._closed) or self._has_traits
        empty: dict[int, Fit | None] = {}
        for at in positions:
            node = nodes[names[at]]
            if node.cpu_free_milli < cpu_milli or node.memory_free_bytes < memory_bytes:
                continue
            if restricted and not self._admits(at, node, request, constraints):
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

    def _admits(self, at: int, node: NodeInfo, request: PodRequest, constraints: Constraints) -> bool:
        """Whether kube-scheduler's own filters let the pod pass there."""
        if (
            node.cpu_free_milli < request.cpu_milli
            or node.memory_free_bytes < request.memory_bytes
            or at in self._closed
        ):
            return False
        traits = self._traits[at]
        if traits is None:
            return True
        if traits.most_pods is not None and len(node.holders) >= traits.most_pods:
            return False
        return ineligible(constraints, traits) is None
