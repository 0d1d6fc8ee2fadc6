"""Preempts: keeps the candidate nodes where evictions really make room on GPUs, with the victims that it takes there.

kube-scheduler knows only a node's total; it may offer victims whose GPUs do not help. An answer may drop nodes and may
add victims of lower priority on the same node (pkg/scheduler/framework/preemption, CallExtenders). The victims offered
always stay: room may be short in other ways, too.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from extender.contract.units import CORE_PERCENT, UnitMib
from extender.scheduling.fitting.fitting import try_fit
from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.nodes.node import GpuInfo, Hold, Holder, NodeInfo, node_info
from extender.scheduling.pods.request import Demand
from extender.scheduling.preempting.budgets import Allowances, Budget, Protection
from extender.scheduling.preempting.cheapest import Cost, Effort, Expendable, cheapest, cost_of, importance, violated
from extender.scheduling.preempting.victims import Preemptor, Victims

_EFFORT, _LEAST_EFFORT, _MOST_EFFORT = 16_000, 64, 64_000
"""Steps of all searches for one answer, some tenths of a second, of one search at least, and of all at most."""

_STEPS_A_FIT = 20
"""What it takes to see whether a pod fits on a whole node, in steps of a search on one GPU."""


def preempt(
    nodes: Mapping[str, NodeInfo],
    candidates: Mapping[str, Victims],
    preemptor: Preemptor,
    pods: Mapping[str, PodRecord],
    *,
    unit_mib: UnitMib,
    budgets: Sequence[Budget] | None = None,
) -> dict[str, Victims]:
    """The candidates that work, with the victims needed, the most important first as kube-scheduler has them.

    `nodes` are without what is held or claimed for the preemptor itself. `budgets` is None where they are not known;
    then kube-scheduler's own count stands.
    """
    answers: dict[str, Victims] = {}
    effort, total = _EFFORT // max(1, len(candidates)), Effort(_MOST_EFFORT)
    protection = Protection(budgets or ())
    for name, offered in candidates.items():
        node = nodes.get(name)
        if node is None:
            continue
        uids = {*offered.uids, *(holder.uid for holder in node.holders)} if budgets else ()
        allowances = protection.among([pods[uid] for uid in uids if _labelled(pods.get(uid))])
        victims = _Place(node, offered, preemptor, pods, allowances, unit_mib, effort, total).victims()
        if victims:
            answers[name] = _answer(victims, offered, pods, allowances if budgets is not None else None)
    return answers


def _answer(
    uids: Collection[str], offered: Victims, pods: Mapping[str, PodRecord], allowances: Allowances | None
) -> Victims:
    # kube-scheduler takes the first for the most important; a pod that is unknown here comes last.
    known = [pods[uid] for uid in uids if uid in pods]
    unknown = [uid for uid in uids if uid not in pods]
    ordered = (*(pod.uid for pod in sorted(known, key=importance)), *unknown)
    if allowances is None:
        return Victims(ordered, offered.pdb_violations)
    counted = {uid: Expendable(pods[uid], allowances.of(uid)) for uid in uids if _labelled(pods.get(uid))}
    broken = violated(counted.values(), allowances.allows)
    if any(uid not in counted for uid in offered.uids):
        # Only kube-scheduler knows what protects pods without GPUs: the others come on top of its count.
        own = violated([counted[uid] for uid in offered.uids if uid in counted], allowances.allows)
        broken = max(broken, offered.pdb_violations + broken - own)
    return Victims(ordered, broken)


def _labelled(pod: PodRecord | None) -> bool:
    """Whether the pod's labels are known: they are kept of pods with GPUs only."""
    return pod is not None and pod.request is not None


@dataclass(frozen=True, slots=True)
class _Place:
    """One candidate node."""

    node: NodeInfo
    offered: Victims
    preemptor: Preemptor
    pods: Mapping[str, PodRecord]
    allowances: Allowances
    unit_mib: UnitMib
    effort: int
    total: Effort

    def victims(self) -> list[str] | None:
        """All who must go, the offered ones among them; None where that does not help, or nobody needs to go."""
        offered = set(self.offered.uids)
        staying = [one for one in self.node.holders if one.uid not in offered and not self._leaves(one)]
        candidates = [self._candidate(one, self.pods[one.uid]) for one in staying if self._is_candidate(one)]
        cleared = self._with([one for one in staying if not self._is_candidate(one)])
        if not self._fits(cleared):
            return None
        if self._fits(self._with(staying)):
            return list(self.offered.uids) or None
        beside = [
            Expendable(self.pods[uid], self.allowances.of(uid)) for uid in offered if _labelled(self.pods.get(uid))
        ]
        demands = self.preemptor.request.demands
        found = None
        if len(demands) == 1 and demands[0].gpus == 1 and all(_is_placed(one) for one in staying):
            found = self._on_one_gpu(cleared, staying, demands[0], beside)
        if found is None:

            def fits(gone: Collection[str]) -> bool:
                return self._fits(self._with([one for one in staying if one.uid not in gone]))

            effort = Effort(max(_LEAST_EFFORT * _STEPS_A_FIT, self.effort), self.total)
            found = cheapest(candidates, fits, self.allowances.allows, effort, beside=beside, steps=_STEPS_A_FIT)
        return [*self.offered.uids, *(each.uid for each in found or ())]

    def _on_one_gpu(
        self,
        cleared: NodeInfo,
        staying: Sequence[Holder],
        demand: Demand,
        beside: Sequence[Expendable],
    ) -> list[Expendable] | None:
        """The cheapest set on any one GPU; sums say whether it suffices."""
        best: list[Expendable] | None = None
        for gpu in cleared.gpus:
            if not gpu.can_serve(self.preemptor.request.models, demand):
                continue
            there = [
                self._candidate(one, self.pods[one.uid], gpu)
                for one in staying
                if self._is_candidate(one) and one.footprint is not None and _uses(one, gpu)
            ]
            effort = Effort(max(_LEAST_EFFORT, self.effort // len(cleared.gpus)), self.total)
            found = cheapest(there, _Sums(gpu, demand, there).fits, self.allowances.allows, effort, beside=beside)
            if found is not None and (best is None or self._cost(found, beside) < self._cost(best, beside)):
                best = found
        return best

    def _cost(self, found: Sequence[Expendable], beside: Sequence[Expendable]) -> Cost:
        return cost_of([*beside, *found], self.allowances.allows)

    def _candidate(self, holder: Holder, pod: PodRecord, gpu: GpuInfo | None = None) -> Expendable:
        footprint, budgets = holder.footprint, self.allowances.of(holder.uid)
        if footprint is None or gpu is None:
            return Expendable(pod, budgets, holder.request.memory_units if holder.request is not None else 0)
        whole = gpu.uuid in footprint.whole
        units = gpu.capacity if whole else footprint.shares.get(gpu.uuid, 0)
        return Expendable(pod, budgets, units, footprint.cores.get(gpu.uuid, 0), whole)

    def _is_candidate(self, holder: Holder) -> bool:
        """Whether it may be evicted, and helps: a bound pod of lower priority that has GPUs and is not leaving."""
        pod = self._lesser(holder)
        return holder.request is not None and pod is not None and pod.node == self.node.name

    def _leaves(self, holder: Holder) -> bool:
        """Whether its room costs nothing: a pod of lower priority that is terminating, or only claims room."""
        pod = self._lesser(holder)
        return pod is not None and (holder.hold is Hold.CLAIMED or (pod.terminating and pod.node == self.node.name))

    def _lesser(self, holder: Holder) -> PodRecord | None:
        pod = self.pods.get(holder.uid)
        return pod if pod is not None and pod.priority < self.preemptor.priority else None

    def _with(self, holders: Sequence[Holder]) -> NodeInfo:
        return node_info(self.node.record, holders, unit_mib=self.unit_mib, before=self.node)

    def _fits(self, node: NodeInfo) -> bool:
        return try_fit(node, self.preemptor.request, self.preemptor.policy) is not None


def _is_placed(holder: Holder) -> bool:
    return holder.footprint is not None or holder.request is None


def _uses(holder: Holder, gpu: GpuInfo) -> bool:
    footprint = holder.footprint
    return footprint is not None and (gpu.uuid in footprint.whole or gpu.uuid in footprint.shares)


class _Sums:
    """Whether one demand fits on one GPU: `gpu` is as it would be without the candidates."""

    def __init__(self, gpu: GpuInfo, demand: Demand, candidates: Sequence[Expendable]) -> None:
        self._possible = gpu.idle if demand.whole else gpu.healthy and not (demand.core_percent and gpu.whole)
        self._demand = demand
        self._sizes = {each.uid: (each.units, each.core_percent, each.whole) for each in candidates}
        self._free = gpu.capacity - gpu.taken - gpu.outside - sum(each.units for each in candidates)
        self._core = CORE_PERCENT - gpu.core_used_percent - gpu.core_claimed_percent
        self._core -= sum(each.core_percent for each in candidates)

    def fits(self, gone: Collection[str]) -> bool:
        """Whether it fits once these are gone."""
        demand, sizes = self._demand, self._sizes
        if not self._possible:
            return False
        if demand.whole:
            return len(gone) == len(sizes)
        if self._free + sum([sizes[uid][0] for uid in gone]) < demand.units:
            return False
        if not demand.core_percent:
            return True
        whole = any(size[2] for uid, size in sizes.items() if uid not in gone)
        return not whole and self._core + sum([sizes[uid][1] for uid in gone]) >= demand.core_percent
