"""GPU packing: fill GPUs in use before idle ones, and nodes in use before idle ones."""

from collections.abc import Sequence
from dataclasses import dataclass

from extender.scheduling.node import NodeInfo
from extender.scheduling.policies.policy import Cost
from extender.scheduling.policies.tightest import tightest
from extender.scheduling.request import PodRequest


@dataclass(frozen=True, slots=True)
class GpuPacking:
    """Tightest GPU in use, then an idle GPU of a node in use, then an idle node (Antman; baseline of FGD).

    gpu cost = units left on it
    node cost = (GPUs opened, 1 if one is opened on an idle node, units left on the GPUs touched, idle GPUs left)
    """

    name: str = "gpu-packing"

    def gpu_costs(
        self,
        node: NodeInfo,  # noqa: ARG002 (protocol)
        free: Sequence[int],
        candidates: Sequence[int],
        units: int,
        cpu_milli: int,  # noqa: ARG002 (protocol)
    ) -> Sequence[Cost]:
        """Prefer the GPU where least is left."""
        return tightest(free, candidates, units)

    def node_cost(self, node: NodeInfo, request: PodRequest, after: Sequence[int]) -> Cost:  # noqa: ARG002 (protocol)
        """Prefer GPUs in use, then nodes in use."""
        opened = left = idle_left = idle_before = 0
        for gpu, before, remaining in zip(node.gpus, node.free, after, strict=True):
            idle_before += before == gpu.capacity
            idle_left += remaining == gpu.capacity
            if remaining != before:
                opened += before == gpu.capacity
                left += remaining
        on_idle_node = opened > 0 and idle_before == len(node.gpus)
        return (float(opened), float(on_idle_node), float(left), float(idle_left))
