"""Estimates Weights from the pods seen so far and the nodes; the same history gives the same weights everywhere."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

from extender.scheduling.learning.fragmentation import TypicalPod
from extender.scheduling.learning.pricing import hole_values, size_prices
from extender.scheduling.learning.scarcity import abundance
from extender.scheduling.learning.weights import Weights
from extender.scheduling.nodes.shape import NodeShape, capacities_of
from extender.scheduling.pods.models import ModelPatterns
from extender.scheduling.pods.request import PodRequest

_Item = TypeVar("_Item")

HALF_LIFE_PODS = 4000
REESTIMATE_PODS = 200
FIRST_ESTIMATES_PODS = (25, 50, 100)
"""A small cluster may never see 200 pods; early estimates are rough and soon replaced."""

MOST_KINDS = 2048
"""Kinds of pods that are counted; the rarest are forgotten first."""

SCARCITY_PODS = 3000
"""Pods after which half of the scarcity found is believed: it hangs on the few pods that need large nodes."""

TOLERANCE = 0.05
"""Change of weights from which a new estimate is taken up; it costs all remembered answers."""

TYPICAL_SHARE = 0.95
"""Share of the pods that the typical kinds make up together."""


class DemandCounter:
    """Counts pods per kind, older ones less; its owner serializes all calls.

    Args:
        half_life_pods: after so many pods a pod counts half; None keeps all alike.
    """

    def __init__(self, half_life_pods: int | None = HALF_LIFE_PODS) -> None:
        self._growth = 1.0 if half_life_pods is None else 2.0 ** (1.0 / half_life_pods)
        self._counts: dict[PodRequest, float] = {}
        self._step = 1.0
        self._seen = 0

    @property
    def seen(self) -> int:
        """Pods counted so far."""
        return self._seen

    def observe(self, request: PodRequest) -> bool:
        """Count one pod; whether it is time for another estimate."""
        kind = replace(request, policy="") if request.policy else request
        before = self._counts.get(kind)
        if before is None:
            kind, before = replace(kind, containers=()), 0.0
        # A younger pod counts more instead of all older ones less.
        self._step *= self._growth
        self._counts[kind] = before + self._step
        self._seen += 1
        if self._seen % REESTIMATE_PODS and self._seen not in FIRST_ESTIMATES_PODS:
            return False
        self._shrink()
        return True

    def counts(self) -> dict[PodRequest, float]:
        """Weight of each kind; the newest pod weighs 1."""
        return {kind: count / self._step for kind, count in self._counts.items()}

    def _shrink(self) -> None:
        kept = self.counts()
        if len(kept) > MOST_KINDS:
            heaviest = sorted(kept.items(), key=lambda item: (-item[1], _order(item[0])))[:MOST_KINDS]
            chosen = {kind for kind, _ in heaviest}
            kept = {kind: count for kind, count in kept.items() if kind in chosen}
        self._counts, self._step = kept, 1.0


def estimate(
    counts: Mapping[PodRequest, float],
    shapes: Mapping[NodeShape, int],
    *,
    pause: Callable[[], object] = lambda: None,
) -> Weights:
    """Weights for pods that come as often as `counts` says, on `shapes` (number of nodes of each).

    `pause` is called again and again meanwhile, so that the caller can let others work; it changes nothing.
    """
    shapes = {shape: count for shape, count in shapes.items() if shape.units and count}
    gpus = sum(count * sum(units > 0 for units in shape.capacities) for shape, count in shapes.items())
    units = sum(count * shape.units for shape, count in shapes.items())
    cores = sum(count * shape.cpu_cores for shape, count in shapes.items())
    reference = units / gpus if gpus else 1.0
    asking = {kind: count for kind, count in _paced(counts.items(), pause) if kind.demands}
    asked = sum(count * _units(kind, reference) for kind, count in _paced(asking.items(), pause))
    if asked:
        cpu_per_unit = sum(count * kind.cpu_milli for kind, count in asking.items()) / asked
    else:
        cpu_per_unit = 1000 * cores / units if units else 0.0
    return Weights(
        holes={capacity: _holes(asking, capacity, pause) for capacity in capacities_of(shapes)},
        cpu_per_unit=cpu_per_unit or None,
        abundance=_believed(abundance(asking, shapes, reference_units=reference, pause=pause), sum(counts.values())),
        typical=typical_pods(counts, pause=pause),
        reference_units=reference,
        largest_cpu_milli=max((1000 * shape.cpu_cores for shape in shapes), default=0) or 1,
        largest_units=max((shape.units for shape in shapes), default=0) or 1,
    )


def differs(
    old: Weights, new: Weights, tolerance: float = TOLERANCE, *, pause: Callable[[], object] = lambda: None
) -> bool:
    """Whether a policy with `new` would be worth more than the answers remembered for `old`.

    It is not while the value of every hole, the CPU per unit, the abundance of every shape and the shares of the
    typical pods stay within `tolerance`: of the GPU, of itself, of the mean and of all pods.
    """
    if old.holes.keys() != new.holes.keys() or old.abundance.keys() != new.abundance.keys():
        return True
    if (old.reference_units, old.largest_cpu_milli, old.largest_units) != (
        new.reference_units,
        new.largest_cpu_milli,
        new.largest_units,
    ):
        return True
    before, after = old.cpu_per_unit or 0.0, new.cpu_per_unit or 0.0
    shares = {_kind_of(pod): pod.share for pod in _paced(old.typical, pause)}
    for pod in _paced(new.typical, pause):
        kind = _kind_of(pod)
        shares[kind] = shares.get(kind, 0.0) - pod.share
    return (
        abs(before - after) > tolerance * before
        or sum(map(abs, shares.values())) > 2 * tolerance
        or any(
            abs(was - now) > tolerance * capacity
            for capacity, values in old.holes.items()
            for was, now in zip(values, new.holes[capacity], strict=True)
        )
        or any(abs(min(1.0, was) - min(1.0, new.abundance[shape])) > tolerance for shape, was in old.abundance.items())
    )


def typical_pods(
    counts: Mapping[PodRequest, float], *, pause: Callable[[], object] = lambda: None
) -> tuple[TypicalPod, ...]:
    """The most frequent kinds that make up `TYPICAL_SHARE` of the pods, their shares scaled to 1.

    Memory is ignored. A pod of several demands counts as its largest.
    """
    kinds: dict[_Kind, float] = {}
    for request, count in _paced(counts.items(), pause):
        kind = _typical(request)
        kinds[kind] = kinds.get(kind, 0.0) + count
    total = sum(kinds.values())
    ordered = [(count, *_typical_order(kind), kind) for kind, count in _paced(kinds.items(), pause)]
    ordered.sort(reverse=True)  # kinds themselves are never compared: no two have the same order
    chosen: list[tuple[_Kind, float]] = []
    reached = 0.0
    for count, *_, kind in _paced(ordered, pause):
        if reached >= TYPICAL_SHARE * total:
            break
        chosen.append((kind, count))
        reached += count
    return tuple([TypicalPod(*kind, share=count / reached) for kind, count in _paced(chosen, pause)])


_Kind = tuple[int, int, int, ModelPatterns]
"""A TypicalPod's fields without its share."""


def _kind_of(pod: TypicalPod) -> _Kind:
    return pod.cpu_milli, pod.units, pod.gpus, pod.models


def _typical(request: PodRequest) -> _Kind:
    if not request.demands:
        return request.cpu_milli, 0, 0, request.models
    largest = max(request.demands, key=lambda demand: (demand.whole, demand.units, demand.gpus))
    return request.cpu_milli, largest.units, largest.gpus, request.models


def _typical_order(kind: _Kind) -> tuple[int, bool, int, int, tuple[str, ...], tuple[str, ...]]:
    cpu_milli, units, gpus, models = kind
    whole = gpus > 0 and not units
    return (cpu_milli, whole, units, gpus, models.accepted, models.refused)


def _paced(items: Iterable[_Item], pause: Callable[[], object]) -> Iterator[_Item]:
    """The items, with a pause now and then: there may be thousands."""
    for at, item in enumerate(items):
        if not at % 64:
            pause()
        yield item


def _believed(theta: Mapping[NodeShape, float], pods: float) -> dict[NodeShape, float]:
    """Abundances drawn towards 1 while few pods speak for them; more than 1 is as good as 1."""
    belief = pods / (pods + SCARCITY_PODS)
    return {shape: 1.0 - belief * (1.0 - min(1.0, value)) for shape, value in theta.items()}


def _holes(asking: Mapping[PodRequest, float], capacity: int, pause: Callable[[], object]) -> tuple[float, ...]:
    sizes: dict[int, float] = {}
    for request, count in asking.items():
        for demand in request.demands:
            size = demand.units or capacity
            sizes[size] = sizes.get(size, 0.0) + count * demand.gpus
    return hole_values(size_prices(sizes, capacity, pause=pause), capacity)


def _units(request: PodRequest, reference_units: float) -> float:
    return request.memory_units + request.whole_gpus * reference_units


def _order(request: PodRequest) -> tuple[object, ...]:
    demands = tuple((demand.units, demand.gpus, demand.core_percent) for demand in request.demands)
    models = request.models
    return (demands, request.cpu_milli, request.memory_bytes, models.accepted, models.refused, request.gpu_count)
