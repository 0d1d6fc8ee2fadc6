"""Preempts: keeps the candidate nodes and victims whose evictions really make room on a GPU.

kube-scheduler knows only a node's total; it may offer victims whose GPUs do not help. An answer may drop nodes and may
add victims of lower priority on the same node (pkg/scheduler/framework/preemption, CallExtenders).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from extender.contract.units import UnitMib
from extender.scheduling.fitting.fitting import Fit, fit
from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.nodes.node import NodeInfo, node_info
from extender.scheduling.nodes.snapshot import Snapshot
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Policy


@dataclass(frozen=True, slots=True)
class Victims:
    """Pods to evict from one node, by UID, and how many of them a PodDisruptionBudget protects."""

    uids: tuple[str, ...]
    pdb_violations: int = 0


@dataclass(frozen=True, slots=True)
class Preemptor:
    """The pod that needs room."""

    request: PodRequest
    priority: int
    policy: Policy


def preempt(
    snapshot: Snapshot,
    candidates: Mapping[str, Victims],
    preemptor: Preemptor,
    pods: Mapping[str, PodRecord],
    *,
    unit_mib: UnitMib,
) -> dict[str, Victims]:
    """The candidates that work, with the victims needed; the victims offered always stay on the list."""
    answers: dict[str, Victims] = {}
    for name, victims in candidates.items():
        node = snapshot.nodes.get(name)
        chosen = None if node is None else _victims_on(node, victims.uids, preemptor, pods, unit_mib)
        if chosen:
            answers[name] = Victims(chosen, victims.pdb_violations)
    return answers


def _victims_on(
    node: NodeInfo, offered: Sequence[str], preemptor: Preemptor, pods: Mapping[str, PodRecord], unit_mib: UnitMib
) -> tuple[str, ...] | None:
    def fits_without(gone: set[str]) -> bool:
        left = [holder for holder in node.holders if holder.uid not in gone]
        emptier = node_info(node.record, left, unit_mib=unit_mib, before=node)
        return isinstance(fit(emptier, preemptor.request, preemptor.policy), Fit)

    # The least important first, then the smallest: the fewest and cheapest additional evictions, one by one.
    spare = sorted(
        (
            pod
            for holder in node.holders
            if holder.uid not in offered
            and holder.request is not None
            and (pod := pods.get(holder.uid)) is not None
            and pod.node == node.name
            and pod.priority < preemptor.priority
        ),
        key=lambda pod: (pod.priority, pod.uid),
    )
    gone = set(offered)
    added: list[str] = []
    while not fits_without(gone):
        if not spare:
            return None
        pod = spare.pop(0)
        gone.add(pod.uid)
        added.append(pod.uid)
    # Reprieve, the most important first: not every eviction on the way there was needed.
    for uid in reversed(list(added)):
        if fits_without(gone - {uid}):
            gone.discard(uid)
            added.remove(uid)
    return (*offered, *added)
