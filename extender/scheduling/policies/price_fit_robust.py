"""Price-fit, robust: also avoids fragmentation, so that it stays good when pods leave again."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import floor

from extender.scheduling.learning.fragmentation import Fragmentation
from extender.scheduling.learning.weights import UNLEARNED, Weights
from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Cost
from extender.scheduling.policies.price_fit import Losses

_FRAGMENTATION = 0.5
_STEP_MILLI = 20.0
_DUST = 1e-6


@dataclass(frozen=True, slots=True)
class PriceFitRobust:
    """Price-fit's loss, with rent up to an abundance of 1, and half of FGD's fragmentation on top, in coarse steps.

    gpu cost = price-fit's
    node cost = floor((loss + 0.5 x (F after - F before)) / 20), in thousandths of a GPU
    """

    weights: Weights = field(default=UNLEARNED, repr=False)
    name: str = "price-fit-robust"
    _losses: Losses = field(init=False, repr=False, compare=False)
    _fragmentation: Fragmentation = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_losses", Losses(self.weights, scarcity=0.3, threshold=1.0))
        object.__setattr__(self, "_fragmentation", Fragmentation(self.weights.typical))

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
        """Prefer the node where least is lost or fragmented."""
        shape, cpu_free = node.record.shape, node.cpu_free_milli
        fragment = self._fragmentation.of
        more = fragment(shape, after, cpu_free - request.cpu_milli) - fragment(shape, node.free, cpu_free)
        loss = self._losses.of(node, request.cpu_milli, after)
        loss += _FRAGMENTATION * more * 1000.0 / self.weights.reference_units
        return (floor(loss / _STEP_MILLI + _DUST),)
