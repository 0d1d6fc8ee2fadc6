"""Finds the nodes with GPUs that could be emptied, and where their pods would move.

Pods that move go where the extender's filter would send them, among nodes that stay in use: moving to an idle node
saves nothing. A node counts only when every pod that `kubectl drain` would evict finds a place. Nodes that have taken
pods in are not emptied afterwards, so no pod moves twice. What is not known here (disruption budgets, and what
`Constraints.unchecked` names) may still keep a pod where it is.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from extender.capacity.blocking import blocked
from extender.capacity.cluster import Cluster, PodTraits
from extender.capacity.eligibility import Constraints
from extender.capacity.packing import Packing
from extender.capacity.physical import models_of
from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.nodes.node import NodeRecord
from extender.scheduling.pods.footprint import Footprint
from extender.scheduling.pods.request import PodRequest

MOST_BOTTLENECKS = 16
"""Kinds of pods whose bottleneck is computed: each takes a look at every node."""

NO_GPU = PodRequest(())

UsdPerHour = Callable[[str], float | None]
"""Dollars for one GPU of a model for an hour; None when unknown."""


@dataclass(frozen=True, slots=True)
class Move:
    """A pod that would be recreated elsewhere; `footprint` is what it would hold there, None without GPUs."""

    pod: PodRecord
    traits: PodTraits
    node: str
    footprint: Footprint | None


@dataclass(frozen=True, slots=True)
class Emptied:
    """A node that would host only pods that go away with it; dollars are None when a price is unknown."""

    node: str
    gpus: int
    usd_per_hour: float | None
    moves: tuple[Move, ...] = ()


@dataclass(frozen=True, slots=True)
class Kept:
    """A node that stays, and the first pod that keeps it there."""

    node: str
    pod: PodRecord
    why: str


@dataclass(frozen=True, slots=True)
class DrainAdvice:
    """Nodes without anything to move, nodes that could be emptied in this order, and those that stay in use."""

    idle: tuple[Emptied, ...] = ()
    emptied: tuple[Emptied, ...] = ()
    kept: tuple[Kept, ...] = ()
    notes: tuple[str, ...] = field(default_factory=tuple)


def advise_drain(cluster: Cluster, policy: str, usd_per_hour: UsdPerHour, *, force: bool = False) -> DrainAdvice:
    """Which nodes with GPUs could be emptied.

    Args:
        cluster: as it is.
        policy: places the pods that move.
        usd_per_hour: what GPUs cost.
        force: count bare pods as moved, though nothing recreates them; as `kubectl drain --force`.

    Raises:
        RequestError: no policy of that name.
    """
    drain = _Drain(cluster, cluster.packing(policy), force=force)
    bills = {node.name: _bill(node, usd_per_hour) for node in cluster.nodes if node.inventory and node.inventory.gpus}
    idle = [name for name in sorted(bills) if not drain.moving(name)]
    drain.packing.close(idle)
    kept: list[Kept] = []
    emptied: list[Emptied] = []
    for name in sorted(bills.keys() - set(idle), key=lambda name: (drain.effort(name, bills[name][1]), name)):
        answer = drain.empty(name)
        if isinstance(answer, Kept):
            kept.append(answer)
        else:
            emptied.append(Emptied(name, *bills[name], moves=answer))
    return DrainAdvice(
        idle=tuple(Emptied(name, *bills[name]) for name in idle),
        emptied=tuple(emptied),
        kept=tuple(sorted(kept, key=lambda one: one.node)),
        notes=tuple(_notes(cluster, emptied)),
    )


class _Drain:
    """The packing in which pods move, and what has moved so far."""

    def __init__(self, cluster: Cluster, packing: Packing, *, force: bool) -> None:
        self.packing = packing
        self._cluster = cluster
        self._force = force
        self._on: dict[str, list[PodRecord]] = {}
        for pod in cluster.pods:
            traits = cluster.traits_of(pod)
            if pod.node and not (pod.ended or traits.with_node or traits.leaving):
                self._on.setdefault(pod.node, []).append(pod)
        self._taken_in: dict[str, str] = {}
        self._bottlenecks: dict[tuple[PodRequest, Constraints], str] = {}

    def moving(self, node: str) -> Sequence[PodRecord]:
        """The pods that would have to leave."""
        return self._on.get(node, ())

    def effort(self, node: str, usd_per_hour: float | None) -> float:
        """GPUs that have to move, per dollar that this saves."""
        capacity = self.packing.node(node).capacity or 1
        gpus = len(self.packing.node(node).gpus)
        held = sum(_gpus_of(pod, capacity / gpus) for pod in self.moving(node))
        return held / usd_per_hour if usd_per_hour else held

    def empty(self, node: str) -> tuple[Move, ...] | Kept:
        """Move everything away from `node`; where a pod can't go, all stays as it was."""
        pods = sorted(self.moving(node), key=_largest_first)
        for pod in pods:
            why = self._held_back(node, pod)
            if why:
                return Kept(node, pod, why)
        self.packing.close((node,))
        moves: list[Move] = []
        for pod in pods:
            move = self._moved(pod)
            if move is None:
                why = self._bottleneck(pod)
                for done in moves:
                    self.packing.put(done.pod, done.pod.node, done.pod.footprint)
                self.packing.open((node,))
                return Kept(node, pod, why)
            moves.append(move)
        for move in moves:
            self._taken_in.setdefault(move.node, node)
        return tuple(moves)

    def _held_back(self, node: str, pod: PodRecord) -> str:
        traits = self._cluster.traits_of(pod)
        if node in self._taken_in:
            return f"it would take in pods of {self._taken_in[node]}"
        if traits.owner is None and not self._force:
            return "bare pod: no controller would recreate it (--force counts it as moved)"
        if traits.pinned:
            return f"annotation {traits.pinned} forbids eviction"
        if pod.request_error:
            return f"it could not be placed again: {pod.request_error}"
        return ""

    def _moved(self, pod: PodRecord) -> Move | None:
        traits = self._cluster.traits_of(pod)
        if pod.request is not None and pod.request.demands:
            plan = self.packing.place(pod.uid, pod.request, traits.constraints)
            return None if plan is None else Move(pod, traits, plan.node, plan.footprint)
        node = self.packing.place_plain(pod.uid, _plain(pod), traits.constraints)
        return None if node is None else Move(pod, traits, node, None)

    def _bottleneck(self, pod: PodRecord) -> str:
        request = pod.request if pod.request is not None and pod.request.demands else _plain(pod)
        if request.demands and not any(node.gpus and self.packing.is_open(node.name) for node in self.packing.nodes):
            return "no other node with GPUs is in use"
        kind = (request, self._cluster.traits_of(pod).constraints)
        known = self._bottlenecks.get(kind)
        if known is None and len(self._bottlenecks) < MOST_BOTTLENECKS:
            known = self._bottlenecks[kind] = blocked(self.packing, *kind).bottleneck
        return f"fits on no other node in use: {known}" if known else "fits on no other node in use"


def _plain(pod: PodRecord) -> PodRequest:
    return PodRequest((), cpu_milli=pod.cpu_milli, memory_bytes=pod.memory_bytes)


def _gpus_of(pod: PodRecord, units_per_gpu: float) -> float:
    return pod.request.whole_gpus + pod.request.memory_units / units_per_gpu if pod.request is not None else 0.0


def _largest_first(pod: PodRecord) -> tuple[int, int, int, str]:
    request = pod.request or NO_GPU
    return (-request.whole_gpus, -request.memory_units, -pod.cpu_milli, pod.uid)


def _bill(node: NodeRecord, usd_per_hour: UsdPerHour) -> tuple[int, float | None]:
    models = models_of(node)
    prices = {model: usd_per_hour(model) for model in models}
    if any(price is None for price in prices.values()):
        return len(models), None
    return len(models), sum(prices[model] or 0.0 for model in models)


def _notes(cluster: Cluster, emptied: Iterable[Emptied]) -> list[str]:
    notes = ["PodDisruptionBudgets are not considered"]
    unchecked: dict[str, int] = {}
    lost: dict[str, int] = {}
    for one in emptied:
        for move in one.moves:
            for name in move.traits.constraints.unchecked:
                unchecked[name] = unchecked.get(name, 0) + 1
            for name in move.traits.loses:
                lost[name] = lost.get(name, 0) + 1
    notes.extend(f"{_pods(count)} to move: {name} is not considered" for name, count in sorted(unchecked.items()))
    notes.extend(f"{_pods(count)} to move would lose {name}" for name, count in sorted(lost.items()))
    pending = sum(not pod.node and pod.request is not None for pod in cluster.pods)
    if pending:
        notes.append(f"{_pods(pending)} waiting for GPUs")
    return notes


def _pods(count: int) -> str:
    return f"{count} pod" if count == 1 else f"{count} pods"


def saved_usd_per_hour(nodes: Iterable[Emptied]) -> float | None:
    """What these nodes cost together; None when a price is unknown."""
    prices = [one.usd_per_hour for one in nodes]
    return None if None in prices else sum(price or 0.0 for price in prices)
