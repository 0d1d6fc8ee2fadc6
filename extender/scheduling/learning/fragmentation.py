"""Computes FGD's fragmentation: how much of the room on a node typical pods cannot use.

Weng et al., "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation Gradient Descent" (USENIX
ATC 2023). A unit is a fragment for a typical pod when the node cannot take that pod at all, or when it is free on a GPU
with less left than the pod asks of one GPU; a node's fragmentation is the mean over the typical pods.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from extender.scheduling.nodes.shape import NodeShape
from extender.scheduling.pods.models import ModelPatterns
from extender.scheduling.pods.serving import can_serve


@dataclass(frozen=True, slots=True)
class TypicalPod:
    """A kind of pod: `units` on each of `gpus` GPUs (0 units: whole GPUs; 0 GPUs: none), with its share of all pods."""

    cpu_milli: int
    units: int
    gpus: int
    models: ModelPatterns
    share: float


class Fragmentation:
    """Computes fragmentation for one set of typical pods; what depends on few things only is remembered."""

    def __init__(self, typical: Sequence[TypicalPod]) -> None:
        self.typical = tuple(typical)
        self._shapes: dict[NodeShape, _OfShape] = {}

    def of(self, shape: NodeShape, free: Sequence[int], cpu_free_milli: int) -> float:
        """Expected fragment on a node of this shape, in units."""
        of_shape = self._shapes.get(shape)
        if of_shape is None:
            of_shape = self._shapes[shape] = _OfShape(shape, self.typical)
        return of_shape.fragment(free, cpu_free_milli)


def fragment(pod: TypicalPod, shape: NodeShape, free: Sequence[int], cpu_free_milli: int) -> int:
    """Units of `free` that are a fragment for this pod."""
    return _fragment(pod, _least(pod, shape), free, cpu_free_milli)


def _least(pod: TypicalPod, shape: NodeShape) -> tuple[float, ...]:
    """What must be free on each GPU to be of use to this pod; more than there is where it can never be."""
    return tuple(
        (pod.units or max(1, units)) if _can_use(pod, model, is_slice=is_slice) else inf
        for model, units, is_slice in shape.kinds()
    )


def _can_use(pod: TypicalPod, model: str, *, is_slice: bool) -> bool:
    return can_serve(pod.models, model, is_slice=is_slice, whole=not pod.units, gpus=pod.gpus)


def _fragment(pod: TypicalPod, least: Sequence[float], free: Sequence[int], cpu_free_milli: int) -> int:
    useful = [left for left, enough in zip(free, least, strict=True) if left >= enough]
    if not pod.gpus or len(useful) < pod.gpus or cpu_free_milli < pod.cpu_milli:
        return sum(free)
    return sum(free) - sum(useful)


class _OfShape:
    """Tables for nodes of one shape.

    On a node of equal GPUs, whether a pod can run depends on the CPU, the largest holes and the number of idle GPUs
    only; given these, each GPU adds what depends on its own hole.
    """

    def __init__(self, shape: NodeShape, typical: Sequence[TypicalPod]) -> None:
        self._typical = typical
        self._tabled = shape.uniform and all(pod.gpus <= 1 or not pod.units for pod in typical)
        self._capacity = max(1, *shape.capacities) if shape.gpus else 1
        model, _, is_slice = next(shape.kinds(), ("", 0, False))
        self._able = [
            (pod.units or self._capacity, pod)
            for pod in typical
            if pod.gpus and _can_use(pod, model, is_slice=is_slice)
        ]
        self._pods = () if self._tabled else tuple((pod, _least(pod, shape)) for pod in typical)
        self._cpu_levels = sorted({pod.cpu_milli for _, pod in self._able})
        self._sizes = sorted({units for units, _ in self._able})
        self._rows: dict[tuple[int, int, int], _Row] = {}

    def fragment(self, free: Sequence[int], cpu_free_milli: int) -> float:
        if not self._tabled:
            return sum(pod.share * _fragment(pod, least, free, cpu_free_milli) for pod, least in self._pods)
        largest = max(free, default=0)
        key = (
            bisect_right(self._cpu_levels, cpu_free_milli),
            bisect_right(self._sizes, largest),
            free.count(self._capacity),
        )
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = self._row(cpu_free_milli, largest, key[2])
        return sum(map(row.__getitem__, free))

    def _row(self, cpu_free_milli: int, largest: int, idle: int) -> "_Row":
        able = [
            (units, pod.share)
            for units, pod in self._able
            if pod.cpu_milli <= cpu_free_milli and (units <= largest if pod.units else pod.gpus <= idle)
        ]
        unable = sum(pod.share for pod in self._typical) - sum(share for _, share in able)
        return _Row(able, unable)


class _Row(dict[int, float]):
    """Expected fragment on one GPU by what is free on it, filled when asked."""

    def __init__(self, able: Sequence[tuple[int, float]], unable: float) -> None:
        super().__init__()
        self._able = able
        self._unable = unable

    def __missing__(self, free: int) -> float:
        value = self[free] = free * (self._unable + sum(share for units, share in self._able if units > free))
        return value
