"""Plans a binding: the Allocation that goes into the Binding, and what the ledger charges for it."""

from msgspec import Struct

from extender.contract.allocation import Allocation
from extender.contract.units import CORE_PERCENT, UnitMib
from extender.scheduling.fitting.fitting import Fit, fit
from extender.scheduling.fitting.placing import allocation_of, footprint_of_choice
from extender.scheduling.fitting.reasons import Misfit
from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.nodes.node import Hold, Holder, NodeInfo
from extender.scheduling.pods.footprint import Footprint
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Cost, Policy


class Plan(Struct, frozen=True, gc=False):
    """Where a pod goes: what the Binding says, what the ledger charges, and at which cost to the policy."""

    node: str
    allocation: Allocation
    footprint: Footprint
    cost: Cost


def plan_on(node: NodeInfo, request: PodRequest, answer: Fit, *, unit_mib: UnitMib) -> Plan:
    """The plan that a Fit on this very `node` stands for."""
    return Plan(
        node=node.name,
        allocation=allocation_of(node, request, answer.chosen, unit_mib=unit_mib),
        footprint=footprint_of_choice(node, request, answer.chosen),
        cost=answer.cost,
    )


def holder_of(pod: PodRecord, request: PodRequest, plan: Plan, hold: Hold) -> Holder:
    """What the ledger charges for the pod once the plan is in force in this way."""
    return Holder(
        uid=pod.uid,
        namespace=pod.namespace,
        name=pod.name,
        request=request,
        footprint=plan.footprint,
        hold=hold,
        cpu_milli=pod.cpu_milli,
        memory_bytes=pod.memory_bytes,
    )


def plan_binding(node: NodeInfo | None, request: PodRequest, policy: Policy, *, unit_mib: UnitMib) -> Plan | Misfit:
    """Choose GPUs on the node that kube-scheduler picked; the pod's own hold must not be charged on it any more.

    A pod that passed filter on the same snapshot gets a plan (the same choice, made by the same function).
    """
    if node is None:
        return Misfit.UNKNOWN_NODE
    answer = fit(node, request, policy)
    if isinstance(answer, Misfit):
        return answer
    return plan_on(node, request, answer, unit_mib=unit_mib)


def holds_good(node: NodeInfo | None, plan: Plan) -> bool:
    """Whether a plan whose footprint is charged on `node` can still be carried out there."""
    if node is None or node.record.inventory is None or not node.unit_matches:
        return False
    gpus = {gpu.uuid: gpu for gpu in node.gpus}
    return all(
        uuid in gpus
        and gpus[uuid].healthy
        and gpus[uuid].used + gpus[uuid].outside <= gpus[uuid].capacity
        and (uuid not in plan.footprint.cores or gpus[uuid].core_used_percent <= CORE_PERCENT)
        for uuid in (*plan.footprint.shares, *plan.footprint.whole)
    )


def has_room(node: NodeInfo, plan: Plan) -> bool:
    """Whether a plan that is not charged on `node` could be carried out there as it is."""
    gpus = {gpu.uuid: gpu for gpu in node.gpus}
    shares, cores = plan.footprint.shares, plan.footprint.cores
    return (
        node.unit_matches
        and all(uuid in gpus and gpus[uuid].idle for uuid in plan.footprint.whole)
        and all(uuid in gpus and gpus[uuid].free >= units for uuid, units in shares.items())
        and all(uuid in gpus and gpus[uuid].core_free_percent >= percent for uuid, percent in cores.items())
    )
