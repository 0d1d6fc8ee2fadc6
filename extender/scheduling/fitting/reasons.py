"""Names the reason why a pod does not fit on a node, and the numbers behind it.

The reasons are constant sentences without numbers: kube-scheduler counts equal sentences ("3 GPU memory is free but
..."), and a sentence that changes from try to try would requeue the pod at once, again and again. This is the only
place where they are written; the numbers (`Shortage`) are for logs and for explanations.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from extender.scheduling.nodes.node import GpuInfo, NodeInfo
from extender.scheduling.pods.models import ANY_MODEL
from extender.scheduling.pods.request import Demand, PodRequest


class Misfit(Enum):
    """One reason per node, the most telling that holds; the value is what `kubectl describe pod` shows."""

    UNKNOWN_NODE = "node is not known to gpupack"
    NO_INVENTORY = "node has no GPU inventory (is the gpupack device plugin running there?)"
    UNIT_MISMATCH = "memory unit of the node's device plugin differs from the scheduler extender's"
    NO_PLUGIN = "gpupack device plugin of the node is not serving"
    NO_MODEL = "no GPU of the requested model"
    TOO_FEW_GPUS = "fewer GPUs than requested"
    MIG_NOT_COMBINED = "fewer GPUs than requested (MIG devices cannot be combined)"
    MIG_NOT_NAMED = "fewer GPUs than requested (a whole MIG device must be named in gpu-model)"
    TOO_LARGE = "request is larger than the GPUs of the node"
    UNHEALTHY = "GPUs that would fit are unhealthy"
    OUTSIDE = "GPU memory is in use outside of Kubernetes or by pods without a request"
    NOT_IDLE = "no idle GPU for a whole-GPU request"
    FRAGMENTED = "GPU memory is free but split over several GPUs"
    NO_CORE = "GPU memory is free but not enough compute (gpu-core) on the same GPU"
    FULL = "not enough free GPU memory"
    EVICTING = "pods that were evicted for this one still hold their memory"

    @property
    def text(self) -> str:
        """The sentence."""
        return self.value

    @property
    def passing(self) -> bool:
        """Whether room could appear when other pods end; every other reason lies in the node itself."""
        return self in _PASSING


BOUND_ELSEWHERE = "pod is bound to another node"
"""What every other node answers to a bound pod, which has nothing to do with the node."""

_PASSING = frozenset({Misfit.OUTSIDE, Misfit.NOT_IDLE, Misfit.FRAGMENTED, Misfit.NO_CORE, Misfit.FULL, Misfit.EVICTING})


@dataclass(frozen=True, slots=True)
class Shortage:
    """What a pod wants of a node and what the node has; of its GPUs, those that can serve the pod are counted.

    Args:
        wanted_units: units on one GPU, of the largest demand; 0 where only whole GPUs are wanted.
        wanted_gpus: different GPUs, of the demand that takes most.
        wanted_whole_gpus: GPUs to be held whole, of all demands together.
        wanted_core_percent: compute of one GPU, of the largest demand.
        gpus: GPUs of the node, of an accepted model; a MIG device only where it can serve a demand of the pod.
        slices: MIG devices of an accepted model that can serve no demand of the pod.
        idle_gpus: those that could be held whole.
        capacity_units: units of the largest GPU.
        free_units: units free on all GPUs together.
        largest_free_units: units free on the emptiest GPU.
        largest_free_core_percent: compute free on the GPU that has most of it.
    """

    wanted_units: int
    wanted_gpus: int
    wanted_whole_gpus: int
    wanted_core_percent: int
    gpus: int
    slices: int
    idle_gpus: int
    capacity_units: int
    free_units: int
    largest_free_units: int
    largest_free_core_percent: int


def shortage(node: NodeInfo, request: PodRequest) -> Shortage:
    """The numbers behind a misfit of `request` on `node`."""
    demands = request.demands
    accepted = [gpu for gpu in node.gpus if request.models.match(gpu.model)]
    serving = _serving(accepted, request)
    return Shortage(
        wanted_units=max((demand.units for demand in demands), default=0),
        wanted_gpus=max((demand.gpus for demand in demands), default=0),
        wanted_whole_gpus=request.whole_gpus,
        wanted_core_percent=max((demand.core_percent for demand in demands), default=0),
        gpus=len(serving),
        slices=len(accepted) - len(serving),
        idle_gpus=sum(gpu.idle for gpu in serving),
        capacity_units=max((gpu.capacity for gpu in serving), default=0),
        free_units=sum(gpu.free for gpu in serving),
        largest_free_units=max((gpu.free for gpu in serving), default=0),
        largest_free_core_percent=max((gpu.core_free_percent for gpu in serving), default=0),
    )


def misfit(node: NodeInfo, request: PodRequest) -> Misfit:
    """The most telling reason why `request` does not fit on `node` (assuming that it does not)."""
    if len(request.demands) == 1 and request.models is ANY_MODEL and not node.record.shape.slices:
        reason = _plain_misfit(node, request.demands[0])
        if reason is not None:
            return reason
    return general_misfit(node, request)


def _plain_misfit(node: NodeInfo, demand: Demand) -> Misfit | None:
    """As `general_misfit`, in one pass, for one demand that all GPUs can serve; None where one needs a closer look."""
    units, wanted = demand.units, demand.units * demand.gpus
    least = max(1, units)
    large_enough = capacity = 0
    for gpu in node.gpus:
        if gpu.outside or not gpu.healthy:
            return None
        capacity += gpu.capacity
        large_enough += gpu.capacity >= least
    if not node.gpus:
        return Misfit.NO_MODEL
    if len(node.gpus) < demand.gpus:
        return Misfit.TOO_FEW_GPUS
    if large_enough < demand.gpus or capacity < wanted:
        return Misfit.TOO_LARGE
    if not units:
        return Misfit.NOT_IDLE
    return Misfit.FRAGMENTED if sum(node.free) >= wanted else Misfit.FULL


def general_misfit(node: NodeInfo, request: PodRequest) -> Misfit:
    """As `misfit`, for any request."""
    accepted = [gpu for gpu in node.gpus if request.models.match(gpu.model)]
    largest = max(request.demands, key=lambda demand: (demand.units, demand.gpus))
    # GPUs held whole are shared with no other pod; the shares of one pod may sit on the same GPUs.
    gpus = request.whole_gpus + max((demand.gpus for demand in request.demands if not demand.whole), default=0)
    wanted = request.memory_units
    if not accepted:
        return Misfit.NO_MODEL
    if len(accepted) < gpus:
        return Misfit.TOO_FEW_GPUS
    if node.record.shape.slices:
        barred = _mig_misfit(accepted, request)
        if barred is not None:
            return barred
        accepted = _serving(accepted, request)
    if not _could_hold(accepted, request, largest):
        return Misfit.TOO_LARGE
    healthy = [gpu for gpu in accepted if gpu.healthy]
    if len(healthy) < gpus or not _could_hold(healthy, request, largest):
        return Misfit.UNHEALTHY
    if wanted and not request.whole_gpus and would_fit_combined(healthy, request):
        return Misfit.FRAGMENTED
    without_outside = sum(
        gpu.taken == 0 if largest.whole else gpu.capacity - gpu.taken >= largest.units
        for gpu in healthy
        if gpu.mig is None or gpu.can_serve(request.models, largest)
    )
    if without_outside >= largest.gpus and any(gpu.outside for gpu in healthy):
        return Misfit.OUTSIDE
    return Misfit.NOT_IDLE if request.whole_gpus else Misfit.FULL


def would_fit_combined(gpus: Iterable[GpuInfo], request: PodRequest) -> bool:
    """Whether the shares of a pod would fit if these GPUs, all of an accepted model, were one.

    A MIG device cannot be combined with anything: it counts for the demands that it can serve alone.
    """
    gpus = tuple(gpus)
    combined = sum(gpu.free for gpu in gpus if gpu.mig is None)
    slices = [gpu.free for gpu in gpus if gpu.mig is not None]
    if not slices:
        return combined >= request.memory_units
    for demand in sorted(request.demands, key=lambda demand: -demand.units):
        room = min((free for free in slices if free >= demand.units), default=None) if demand.gpus == 1 else None
        if room is None:
            combined -= demand.units * demand.gpus
        else:
            slices[slices.index(room)] -= demand.units
    return combined >= 0


def _serving(accepted: Sequence[GpuInfo], request: PodRequest) -> list[GpuInfo]:
    """Those of the GPUs, of a model that the pod accepts, that can serve one of its demands."""
    return [
        gpu for gpu in accepted if gpu.mig is None or any(gpu.can_serve(request.models, one) for one in request.demands)
    ]


def _mig_misfit(accepted: Sequence[GpuInfo], request: PodRequest) -> Misfit | None:
    """Why MIG devices among the GPUs, of which there are enough, leave too few for a demand; None where they do not."""
    models = request.models
    for demand in request.demands:
        if sum(gpu.can_serve(models, demand) for gpu in accepted) < demand.gpus:
            return Misfit.MIG_NOT_COMBINED if demand.gpus > 1 else Misfit.MIG_NOT_NAMED
    whole = [demand for demand in request.demands if demand.whole]
    if sum(any(gpu.can_serve(models, demand) for demand in whole) for gpu in accepted) < request.whole_gpus:
        return Misfit.MIG_NOT_NAMED
    return None


def _could_hold(gpus: Sequence[GpuInfo], request: PodRequest, largest: Demand) -> bool:
    """Whether these GPUs are large enough, were they empty."""
    large_enough = sum(
        gpu.capacity >= max(1, largest.units)
        for gpu in gpus
        if gpu.mig is None or gpu.can_serve(request.models, largest)
    )
    return large_enough >= largest.gpus and sum(gpu.capacity for gpu in gpus) >= request.memory_units
