"""From a pod and the nodes as they are to all that speaks against each node, and what most stands in the way."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from extender.capacity.eligibility import Constraints, Ineligible, ineligible
from extender.capacity.packing import Packing
from extender.scheduling.fitting.fitting import fit
from extender.scheduling.fitting.reasons import Misfit
from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.request import PodRequest

CPU = "Insufficient cpu"
MEMORY = "Insufficient memory"
PODS = "Too many pods"
"""In kube-scheduler's words."""

FRAGMENTATION = "fragmentation of GPU memory"

_PASSING = {CPU, MEMORY, PODS, *(one.text for one in (Misfit.FULL, Misfit.FRAGMENTED, Misfit.NOT_IDLE, Misfit.OUTSIDE))}
_PASSING.add(Misfit.NO_CORE.text)
"""What other pods' end would change; all else is how the node is."""

_BOTTLENECKS = {
    Misfit.FULL.text: "GPU memory",
    Misfit.FRAGMENTED.text: FRAGMENTATION,
    Misfit.NO_CORE.text: "GPU compute (gpu-core)",
    Misfit.NOT_IDLE.text: "idle whole GPUs",
    Misfit.OUTSIDE.text: "GPU memory in use outside of the scheduler",
    Misfit.UNHEALTHY.text: "unhealthy GPUs",
    Misfit.TOO_LARGE.text: "size of the GPUs",
    Misfit.TOO_FEW_GPUS.text: "GPUs per node",
    Misfit.NO_MODEL.text: "GPU model",
    Misfit.NO_PLUGIN.text: "device plugin not serving",
    Misfit.UNIT_MISMATCH.text: "memory unit of the device plugin",
    Misfit.NO_INVENTORY.text: "nodes with GPUs",
    CPU: "CPU of the nodes",
    MEMORY: "memory of the nodes",
    PODS: "pods per node",
    Ineligible.SELECTOR.value: "node selector or affinity",
    Ineligible.TAINT.value: "taints",
    Ineligible.UNSCHEDULABLE.value: "cordoned nodes",
}


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why a pod fits nowhere.

    Args:
        bottleneck: what most stands in the way, in a few words.
        nodes: nodes by what speaks against them; a node counts for each of it.
        free_units: units free on GPUs that it may use, on nodes that it may use.
        free_gpus: GPUs on which these are.
        largest_free_units: the most on one of them.
    """

    bottleneck: str
    nodes: Mapping[str, int] = field(default_factory=dict)
    free_units: int = 0
    free_gpus: int = 0
    largest_free_units: int = 0


def blockers(packing: Packing, node: NodeInfo, request: PodRequest, constraints: Constraints) -> tuple[str, ...]:
    """All that speaks against a node; only what kube-scheduler finds first where it does not consider the node."""
    traits = packing.traits(node.name)
    passed_over = ineligible(constraints, traits)
    if passed_over is not None:
        return (passed_over.value,)
    found: list[str] = []
    if traits.most_pods is not None and len(node.holders) >= traits.most_pods:
        found.append(PODS)
    if node.cpu_free_milli < request.cpu_milli:
        found.append(CPU)
    if node.memory_free_bytes < request.memory_bytes:
        found.append(MEMORY)
    if request.demands:
        answer = fit(node, request, packing.policy_of(request))
        if isinstance(answer, Misfit):
            found.append(answer.text)
    return tuple(found)


def blocked(packing: Packing, request: PodRequest, constraints: Constraints) -> Blocked:
    """Why a pod that fits on no open node does not."""
    found = {
        node.name: blockers(packing, node, request, constraints) for node in packing.nodes if packing.is_open(node.name)
    }
    free = [
        gpu.free
        for node in packing.nodes
        if node.name in found and not _as_it_is(found[node.name], node, request)
        for gpu in node.gpus
        if gpu.free and request.models.match(gpu.model)
    ]
    text = _bottleneck(found, packing, request)
    if text == _BOTTLENECKS[Misfit.FULL.text] and sum(free) >= request.memory_units > 0:
        text = FRAGMENTATION
    return Blocked(
        bottleneck=text,
        nodes=dict(Counter(reason for reasons in found.values() for reason in reasons).most_common()),
        free_units=sum(free),
        free_gpus=len(free),
        largest_free_units=max(free, default=0),
    )


def _bottleneck(found: Mapping[str, Sequence[str]], packing: Packing, request: PodRequest) -> str:
    """Of the nodes that could host the pod, what speaks against those of which least speaks; else against all."""
    asking = bool(request.demands)
    with_gpus = {name: reasons for name, reasons in found.items() if not asking or packing.node(name).gpus}
    hosts = {
        name: reasons for name, reasons in with_gpus.items() if not _as_it_is(reasons, packing.node(name), request)
    }
    considered = hosts or with_gpus or found
    if not considered:
        return "nodes"
    least = min(len(reasons) for reasons in considered.values())
    counts = Counter(reason for reasons in considered.values() if len(reasons) == least for reason in reasons)
    if not counts:
        return "nothing"
    reason = min(counts, key=lambda one: (-counts[one], one))
    return _BOTTLENECKS.get(reason, reason)


def _as_it_is(reasons: Sequence[str], node: NodeInfo, request: PodRequest) -> bool:
    """Whether the node could not host the pod even without all other pods."""
    if node.record.cpu_milli < request.cpu_milli or node.record.memory_bytes < request.memory_bytes:
        return True
    return any(reason not in _PASSING for reason in reasons)
