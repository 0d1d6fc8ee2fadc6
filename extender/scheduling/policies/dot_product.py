"""Dot product: prefers the node whose free resources point least in the direction of the request."""

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
class DotProduct(TightestGpu):
    """The smallest dot product of request and free resources (the baseline of FGD, Weng et al., USENIX ATC 2023).

    gpu cost = units left on it
    node cost = -floor(100 x (1 - (CPU asked x CPU free + GPU units asked x units free) / 2)),
    each in parts of the largest node's
    """

    weights: Weights = field(default=UNLEARNED, repr=False)
    name: str = "dot-product"

    def node_cost(self, node: NodeInfo, request: PodRequest, after: Sequence[int]) -> Cost:
        """Prefer the node with the smallest product."""
        cpu, units = self.weights.largest_cpu_milli, self.weights.largest_units
        left = sum(node.free)
        asked = left - sum(after)
        product = (request.cpu_milli / cpu) * (node.cpu_free_milli / cpu) + (asked / units) * (left / units)
        return (-float(floor(_RESOLUTION * (1.0 - product / 2))),)
