"""Finds what keeps a pod off every node, and what stands in its way most."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from extender.capacity.eligibility import Constraints, HostMisfit, ineligible, shortfalls
from extender.capacity.packing import Packing
from extender.scheduling.fitting.judging import judge
from extender.scheduling.fitting.reasons import Misfit, would_fit_combined
from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.request import PodRequest

Obstacle = HostMisfit | Misfit
"""What keeps a pod off a node: a rule of kube-scheduler's own, or the GPUs."""

FRAGMENTATION = "fragmentation of GPU memory"

_BOTTLENECKS: Mapping[Obstacle, str] = {
    Misfit.FULL: "GPU memory",
    Misfit.FRAGMENTED: FRAGMENTATION,
    Misfit.NO_CORE: "GPU compute (gpu-core)",
    Misfit.NOT_IDLE: "idle whole GPUs",
    Misfit.OUTSIDE: "GPU memory in use outside of the scheduler",
    Misfit.EVICTING: "pods that are being evicted",
    Misfit.UNHEALTHY: "unhealthy GPUs",
    Misfit.TOO_LARGE: "size of the GPUs",
    Misfit.TOO_FEW_GPUS: "GPUs per node",
    Misfit.MIG_NOT_COMBINED: "MIG devices, which cannot be combined",
    Misfit.MIG_NOT_NAMED: "MIG devices, which the gpu-model does not name",
    Misfit.NO_MODEL: "GPU model",
    Misfit.NO_PLUGIN: "device plugin not serving",
    Misfit.UNIT_MISMATCH: "memory unit of the device plugin",
    Misfit.NO_INVENTORY: "nodes with GPUs",
    Misfit.UNKNOWN_NODE: "nodes with GPUs",
    HostMisfit.CPU: "CPU of the nodes",
    HostMisfit.MEMORY: "memory of the nodes",
    HostMisfit.TOO_MANY_PODS: "pods per node",
    HostMisfit.SELECTOR: "node selector or affinity",
    HostMisfit.TAINT: "taints",
    HostMisfit.UNSCHEDULABLE: "cordoned nodes",
}
_PASSING = (HostMisfit.CPU, HostMisfit.MEMORY, HostMisfit.TOO_MANY_PODS)
"""What would pass when other pods end, as `Misfit.passing` says of GPUs."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why a pod fits nowhere.

    Args:
        bottleneck: what stands in the way most, in a few words.
        nodes: how many nodes each obstacle keeps the pod off, most first; a node may have several.
        free_units: units free on GPUs that it may use, on nodes that it may use.
        free_gpus: GPUs on which these are.
        largest_free_units: the most on one of them.
    """

    bottleneck: str
    nodes: Mapping[str, int] = field(default_factory=dict)
    free_units: int = 0
    free_gpus: int = 0
    largest_free_units: int = 0


def obstacles(packing: Packing, node: NodeInfo, request: PodRequest, constraints: Constraints) -> list[Obstacle]:
    """All that keeps the pod off a node; where kube-scheduler does not consider the node, only why it does not."""
    traits = packing.traits(node.name)
    passed_over = ineligible(constraints, traits)
    if passed_over is not None:
        return [passed_over]
    found: list[Obstacle] = [*shortfalls(node, traits, request.cpu_milli, request.memory_bytes)]
    misfit = judge(node, request, packing.policy_of(request)).misfit if request.demands else None
    return [*found, misfit] if misfit is not None else found


def blocked(packing: Packing, request: PodRequest, constraints: Constraints) -> Blocked:
    """Why a pod fits on no open node (assuming that it does not)."""
    found = {
        node.name: obstacles(packing, node, request, constraints)
        for node in packing.nodes
        if packing.is_open(node.name)
    }
    usable = [
        gpu
        for node in packing.nodes
        if node.name in found and not _as_it_is(found[node.name], node, request)
        for gpu in node.gpus
        if gpu.free and request.models.match(gpu.model)
        if gpu.mig is None or any(gpu.can_serve(request.models, demand) for demand in request.demands)
    ]
    text, free = _bottleneck(found, packing, request), [gpu.free for gpu in usable]
    if text == _BOTTLENECKS[Misfit.FULL] and request.memory_units and would_fit_combined(usable, request):
        text = FRAGMENTATION
    return Blocked(
        bottleneck=text,
        nodes=dict(Counter(reason.text for reasons in found.values() for reason in reasons).most_common()),
        free_units=sum(free),
        free_gpus=len(free),
        largest_free_units=max(free, default=0),
    )


def _bottleneck(found: Mapping[str, Sequence[Obstacle]], packing: Packing, request: PodRequest) -> str:
    """The most frequent obstacle on the nodes with the fewest, of those that could host the pod if there are any."""
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
    return _BOTTLENECKS[min(counts, key=lambda one: (-counts[one], one.text))]


def _as_it_is(reasons: Sequence[Obstacle], node: NodeInfo, request: PodRequest) -> bool:
    """Whether the node could not host the pod even if all other pods ended."""
    if node.record.cpu_milli < request.cpu_milli or node.record.memory_bytes < request.memory_bytes:
        return True
    return not all(reason.passing if isinstance(reason, Misfit) else reason in _PASSING for reason in reasons)
