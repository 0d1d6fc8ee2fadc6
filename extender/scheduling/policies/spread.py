"""Spread: gives each pod as much room to itself as possible, for latency-sensitive pods on a quiet cluster."""

from collections.abc import Sequence
from dataclasses import dataclass

from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Cost


@dataclass(frozen=True, slots=True)
class Spread:
    """Emptiest GPU first, then the emptiest node (worst fit); shares, not units, so that small GPUs get their part.

    gpu cost = (share of the GPU in use after)
    node cost = (largest share in use on a GPU touched, share of the node in use after)
    """

    name: str = "spread"

    def gpu_costs(
        self,
        node: NodeInfo,
        free: Sequence[int],
        candidates: Sequence[int],
        units: int,
        cpu_milli: int,  # noqa: ARG002 (protocol)
    ) -> Sequence[Cost]:
        """Prefer the GPU whose share in use stays lowest."""
        return [(_share_used(node.gpus[at].capacity, free[at] - units if units else 0),) for at in candidates]

    def node_cost(self, node: NodeInfo, request: PodRequest, after: Sequence[int]) -> Cost:  # noqa: ARG002 (protocol)
        """Prefer nodes where the GPUs touched, then all GPUs, stay emptiest."""
        touched = [
            _share_used(gpu.capacity, remaining)
            for gpu, before, remaining in zip(node.gpus, node.free, after, strict=True)
            if remaining != before
        ]
        return (max(touched, default=0.0), _share_used(node.capacity, sum(after)))


def _share_used(capacity: int, free: int) -> float:
    return 1.0 - free / capacity if capacity else 1.0
