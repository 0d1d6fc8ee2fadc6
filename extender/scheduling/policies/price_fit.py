"""Price-fit: places a pod where it wastes least of what the rest of the demand would pay for."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import floor, inf
from operator import getitem

from extender.scheduling.learning.weights import UNLEARNED, Weights
from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.nodes.shape import NodeShape
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Cost

_DUST = 1e-6
"""Rounding error of prices, in thousandths of a GPU: costs that differ by less are equal."""


@dataclass(frozen=True, slots=True)
class _Profile:
    """What the weights say of one shape of node: per GPU the value of its holes, and the rent of the shape."""

    holes: tuple[Sequence[float], ...]
    rent: float


class Losses:
    """Price-fit's loss on any node, for one set of weights.

    Args:
        weights: prices of holes, CPU per unit and abundance of shapes.
        scarcity: lambda, the rent of the scarcest shape in parts of the value used.
        threshold: phi, the abundance from which a shape costs no rent.
    """

    def __init__(self, weights: Weights, *, scarcity: float, threshold: float) -> None:
        self._weights = weights
        self._scarcity = scarcity
        self._threshold = threshold
        self._per_cpu = 1.0 / weights.cpu_per_unit if weights.cpu_per_unit else inf
        self._milli = 1000.0 / weights.reference_units
        self._profiles: dict[NodeShape, _Profile] = {}

    def gpu_costs(self, node: NodeInfo, free: Sequence[int], candidates: Sequence[int], units: int) -> list[Cost]:
        """The value that the GPU loses, then what is free on it; GPUs held whole by size."""
        holes = self._profile(node).holes
        if not units:
            return [(float(free[at]), 0.0) for at in candidates]
        costs: list[Cost] = []
        for at in candidates:
            room = free[at]
            table = holes[at]
            costs.append((floor((table[room] - table[room - units]) * 1000 + 0.3), room))
        return costs

    def of(self, node: NodeInfo, cpu_milli: int, after: Sequence[int]) -> float:
        """Thousandths of the average GPU that are lost when a pod leaves `after` free on the node."""
        profile = self._profile(node)
        holes, before = profile.holes, node.free
        value = sum(map(getitem, holes, before))
        value_after = sum(map(getitem, holes, after))
        used = value - value_after
        loss = 0.0
        for table, room, left in zip(holes, before, after, strict=True):
            if room != left:
                loss += table[room] - table[left] - table[room - left]
        cpu = node.cpu_free_milli
        if self._per_cpu is not inf:
            reach = cpu * self._per_cpu
            reach_after = (cpu - cpu_milli) * self._per_cpu
            stranded = min(value, reach) - min(value_after, reach_after) - used
            if stranded > 0.0:
                loss += stranded
        return (loss + profile.rent * used) * self._milli

    def _profile(self, node: NodeInfo) -> _Profile:
        shape = node.record.shape
        profile = self._profiles.get(shape)
        if profile is None:
            known = self._weights.holes
            holes = tuple(known.get(units) or tuple(map(float, range(units + 1))) for units in shape.capacities)
            plenty = self._weights.abundance.get(shape, 1.0) / self._threshold
            profile = self._profiles[shape] = _Profile(holes, self._scarcity * max(0.0, 1.0 - min(1.0, plenty)))
        return profile


@dataclass(frozen=True, slots=True)
class PriceFit:
    """The smallest loss wins: wasted pattern + stranded value + rent of a scarce node.

    With U(r) the value of a hole of r units (`learning.pricing`), A = sum of U over the GPUs of the node
    before and A' after, used = A - A', C the free CPU, rho CPU per unit, Phi(A, C) = min(A, C / rho):

    loss = sum over the GPUs touched of U(before) - U(after) - U(taken)
         + max(0, Phi(A, C) - Phi(A', C - cpu) - used)
         + rent x used, rent = 0.3 x max(0, 1 - abundance / 0.1)
    gpu cost = (U(before) - U(after) in thousandths of a unit, units free on it)
    node cost = floor(loss in thousandths of a GPU)
    """

    weights: Weights = field(default=UNLEARNED, repr=False)
    name: str = "price-fit"
    _losses: Losses = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_losses", Losses(self.weights, scarcity=0.3, threshold=0.1))

    def gpu_costs(
        self,
        node: NodeInfo,
        free: Sequence[int],
        candidates: Sequence[int],
        units: int,
        cpu_milli: int,  # noqa: ARG002 (protocol)
    ) -> Sequence[Cost]:
        """Prefer the GPU that loses least value, then the tightest."""
        return self._losses.gpu_costs(node, free, candidates, units)

    def node_cost(self, node: NodeInfo, request: PodRequest, after: Sequence[int]) -> Cost:
        """Prefer the node where least is lost."""
        return (floor(self._losses.of(node, request.cpu_milli, after) + _DUST),)
