"""GPU packing: fills GPUs in use before idle ones, and nodes in use before idle ones."""

from collections.abc import Sequence
from dataclasses import dataclass

from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Cost
from extender.scheduling.policies.tightest import TightestGpu


@dataclass(frozen=True, slots=True)
class GpuPacking(TightestGpu):
    """Tightest GPU in use, then an idle GPU of a node in use, then an idle node (a baseline of FGD, section 6).

    gpu cost = units left on it
    node cost = (0, units left on the GPUs touched) where only GPUs in use are touched,
                (1, idle GPUs before) where an idle GPU of a node in use is, (2, GPUs of the node) for an idle node
    """

    name: str = "gpu-packing"

    def node_cost(self, node: NodeInfo, request: PodRequest, after: Sequence[int]) -> Cost:  # noqa: ARG002 (protocol)
        """Prefer GPUs in use, then nodes in use."""
        opened = left = idle = 0
        for gpu, before, remaining in zip(node.gpus, node.free, after, strict=True):
            was_idle = before == gpu.capacity
            idle += was_idle
            if remaining != before:
                opened += was_idle
                left += remaining
        if not opened:
            return (0.0, float(left))
        return (1.0, float(idle)) if idle < len(node.gpus) else (2.0, float(idle))
