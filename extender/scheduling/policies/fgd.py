"""FGD: places a pod where it adds least fragmentation for the typical pods."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp

from extender.scheduling.learning.fragmentation import Fragmentation
from extender.scheduling.learning.weights import UNLEARNED, Weights
from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Cost

_RESOLUTION = 100


@dataclass(frozen=True, slots=True)
class Fgd:
    """Fragmentation gradient descent (Weng et al., "Beware of Fragmentation", USENIX ATC 2023).

    score = floor(100 x sigmoid((F before - F after) / units of a GPU)), F as in `learning.fragmentation`
    gpu cost = node cost = -score
    The coarse score is part of the policy: it lets the order of nodes decide among those that are nearly alike.
    """

    weights: Weights = field(default=UNLEARNED, repr=False)
    name: str = "fgd"
    _fragmentation: Fragmentation = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_fragmentation", Fragmentation(self.weights.typical))

    def gpu_costs(
        self, node: NodeInfo, free: Sequence[int], candidates: Sequence[int], units: int, cpu_milli: int
    ) -> Sequence[Cost]:
        """Prefer the GPU with the best score of the node; GPUs held whole are alike."""
        if not units:
            return [(0.0,)] * len(candidates)
        left = list(free)
        known: dict[int, Cost] = {}
        costs: list[Cost] = []
        for at in candidates:
            room = free[at]
            cost = known.get(room)
            if cost is None:
                left[at] = room - units
                cost = known[room] = self._cost(node, free, left, cpu_milli)
                left[at] = room
            costs.append(cost)
        return costs

    def node_cost(self, node: NodeInfo, request: PodRequest, after: Sequence[int]) -> Cost:
        """Prefer the node with the best score."""
        return self._cost(node, node.free, after, request.cpu_milli)

    def _cost(self, node: NodeInfo, before: Sequence[int], after: Sequence[int], cpu_milli: int) -> Cost:
        shape, cpu_free = node.record.shape, node.cpu_free_milli
        fragment = self._fragmentation.of
        gain = fragment(shape, before, cpu_free) - fragment(shape, after, cpu_free - cpu_milli)
        return (-float(int(_RESOLUTION / (1.0 + exp(-gain / self.weights.reference_units)))),)
