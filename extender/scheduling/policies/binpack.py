"""Binpack: keeps whole GPUs free for large pods by filling the tightest GPU that is already in use."""

from collections.abc import Sequence
from dataclasses import dataclass

from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Cost


@dataclass(frozen=True, slots=True)
class Binpack:
    """Fewest newly opened GPUs first, then the smallest hole left, then the fullest node (best fit, with GPUs as bins).

    gpu cost = (1 if the GPU is idle else 0, units left on it)
    node cost = (GPUs opened, units left on the GPUs touched, share of the node's units left free)
    """

    name: str = "binpack"

    def gpu_costs(
        self,
        node: NodeInfo,
        free: Sequence[int],
        candidates: Sequence[int],
        units: int,
        cpu_milli: int,  # noqa: ARG002 (protocol)
    ) -> Sequence[Cost]:
        """Prefer a GPU in use, then the one where least is left."""
        gpus = node.gpus
        return [(float(free[at] == gpus[at].capacity), float(free[at] - units) if units else 0.0) for at in candidates]

    def node_cost(self, node: NodeInfo, request: PodRequest, after: Sequence[int]) -> Cost:  # noqa: ARG002 (protocol)
        """Prefer nodes that open no GPU, then tight GPUs, then full nodes."""
        opened = left = 0
        for gpu, before, remaining in zip(node.gpus, node.free, after, strict=True):
            if remaining != before:
                opened += before == gpu.capacity
                left += remaining
        return (float(opened), float(left), sum(after) / max(1, node.capacity))
