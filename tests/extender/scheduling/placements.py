"""What a placement may be, said once more and naively: brute force over all of them, and a check of one."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations, product

from extender.contract.allocation import Allocation
from extender.contract.units import GpuUuid
from extender.scheduling.fitting.choosing import Chosen
from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.models import ModelPatterns
from extender.scheduling.pods.request import PodRequest


def is_placement(node: NodeInfo, request: PodRequest, chosen: Sequence[Sequence[int]]) -> bool:
    """Whether each demand gets that many different healthy GPUs of an accepted model, and none is given out twice.

    A MIG device stands alone, and is held whole only by a pod that accepts it by a pattern with MIG in it.
    """
    units: Counter[int] = Counter()
    core: Counter[int] = Counter()
    whole: Counter[int] = Counter()
    for demand, positions in zip(request.demands, chosen, strict=True):
        if len(set(positions)) != demand.gpus:
            return False
        for at in positions:
            if node.gpus[at].mig is not None and (
                demand.gpus > 1 or (demand.whole and not _says_mig(node, request, at))
            ):
                return False
            units[at] += demand.units
            core[at] += demand.core_percent
            whole[at] += demand.whole
    for at in {*units, *whole}:
        gpu = node.gpus[at]
        if not gpu.healthy or not request.models.match(gpu.model):
            return False
        if whole[at] and (whole[at] > 1 or units[at] or gpu.used or gpu.outside or not gpu.capacity):
            return False
        if gpu.used + gpu.outside + units[at] > gpu.capacity:
            return False
        if core[at] and gpu.core_used_percent + core[at] > 100:
            return False
    return True


def _says_mig(node: NodeInfo, request: PodRequest, at: int) -> bool:
    saying = [pattern for pattern in request.models.accepted if "MIG" in pattern.upper()]
    return any(ModelPatterns((pattern,)).match(node.gpus[at].model) for pattern in saying)


def all_placements(node: NodeInfo, request: PodRequest) -> Iterator[Chosen]:
    """Every way to place a pod."""
    size = range(len(node.gpus))
    for chosen in product(*(tuple(combinations(size, demand.gpus)) for demand in request.demands)):
        if is_placement(node, request, chosen):
            yield chosen


def has_placement(node: NodeInfo, request: PodRequest) -> bool:
    """Whether there is any."""
    return next(all_placements(node, request), None) is not None


def carries_out(allocation: Allocation, request: PodRequest) -> bool:
    """Whether every container gets exactly what it asks for: even on gpu-count GPUs, or that many whole ones."""
    if set(allocation.containers) != {container.name for container in request.containers}:
        return False
    for container in request.containers:
        gpus: dict[GpuUuid, int] = dict(allocation.containers[container.name])
        if container.gpus:
            if len(gpus) != container.gpus:
                return False
        elif sorted(gpus.values()) != [container.memory_units // request.gpu_count] * request.gpu_count:
            return False
    return True
