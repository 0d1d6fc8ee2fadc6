"""First fit: takes the first node that has room, and its tightest GPU."""

from collections.abc import Sequence
from dataclasses import dataclass

from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Cost
from extender.scheduling.policies.tightest import TightestGpu


@dataclass(frozen=True, slots=True)
class FirstFit(TightestGpu):
    """All nodes cost the same, so the order of nodes decides.

    gpu cost = units left on it
    node cost = 0
    """

    name: str = "first-fit"

    def node_cost(self, node: NodeInfo, request: PodRequest, after: Sequence[int]) -> Cost:  # noqa: ARG002 (protocol)
        """Prefer no node."""
        return (0.0,)
