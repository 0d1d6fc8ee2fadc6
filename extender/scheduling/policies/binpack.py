"""Binpack: keep whole GPUs free for large pods by filling the tightest GPU that is already in use."""

from collections.abc import Sequence
from dataclasses import dataclass

from extender.scheduling.node import NodeInfo
from extender.scheduling.policies.policy import Cost
from extender.scheduling.request import PodRequest


@dataclass(frozen=True, slots=True)
class Binpack:
    """Fewest newly opened GPUs first, then the smallest hole left, then the fullest node (best fit, with GPUs as bins).

    gpu_cost = (1 if the GPU is idle else 0, units left on it)
    node_cost = (GPUs opened, units left on the GPUs touched, share of the node's units left free)
    """

    name: str = "binpack"

    def gpu_cost(self, node: NodeInfo, free: Sequence[int], position: int, units: int) -> Cost:
        """Prefer a GPU in use, then the one where least is left."""
        opened = free[position] == node.gpus[position].capacity
        return (float(opened), float(free[position] - units))

    def node_cost(self, node: NodeInfo, request: PodRequest, after: Sequence[int]) -> Cost:  # noqa: ARG002 (protocol)
        """Prefer nodes that open no GPU, then tight GPUs, then full nodes."""
        opened = left = 0
        for gpu, before, remaining in zip(node.gpus, node.free, after, strict=True):
            if remaining != before:
                opened += before == gpu.capacity
                left += remaining
        return (float(opened), float(left), sum(after) / max(1, node.capacity))
