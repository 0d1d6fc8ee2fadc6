"""Best fit: prefers the node that has least left, CPU and GPU counted together."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import floor

from extender.scheduling.learning.weights import UNLEARNED, Weights
from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Cost
from extender.scheduling.policies.tightest import TightestGpu

_RESOLUTION = 100


@dataclass(frozen=True, slots=True)
class BestFit(TightestGpu):
    """The smallest weighted remainder, as in the baseline of FGD (Weng et al., USENIX ATC 2023, section 6).

    gpu cost = units left on it
    node cost = -floor(100 x (1 - (CPU left / CPU of the largest node + GPU units left / units of the largest) / 2))
    The whole score is part of the baseline: nodes that are nearly alike tie.
    """

    weights: Weights = field(default=UNLEARNED, repr=False)
    name: str = "best-fit"

    def node_cost(self, node: NodeInfo, request: PodRequest, after: Sequence[int]) -> Cost:
        """Prefer the node with least left."""
        cpu = (node.cpu_free_milli - request.cpu_milli) / self.weights.largest_cpu_milli
        left = 0.5 * cpu + 0.5 * sum(after) / self.weights.largest_units
        return (-float(floor(_RESOLUTION * (1.0 - left))),)
