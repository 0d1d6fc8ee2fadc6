"""Exclusive: gives whole GPUs to every pod, fullest nodes first; the status quo, as a baseline."""

from collections.abc import Sequence
from dataclasses import dataclass

from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Cost
from extender.scheduling.policies.tightest import TightestGpu


@dataclass(frozen=True, slots=True)
class Exclusive(TightestGpu):
    """Fewest GPUs left idle first; meant for pods that ask for whole GPUs, as the benchmark makes them ask.

    gpu cost = units left on it
    node cost = (idle GPUs left on the node,)
    """

    name: str = "exclusive"

    def node_cost(self, node: NodeInfo, request: PodRequest, after: Sequence[int]) -> Cost:  # noqa: ARG002 (protocol)
        """Prefer nodes with few GPUs left."""
        return (float(sum(left == gpu.capacity for gpu, left in zip(node.gpus, after, strict=True))),)
