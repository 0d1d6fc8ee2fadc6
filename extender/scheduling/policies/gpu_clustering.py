"""GPU clustering: sends pods of the same kind to the same nodes."""

from collections.abc import Sequence
from dataclasses import dataclass

from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Cost
from extender.scheduling.policies.tightest import TightestGpu


@dataclass(frozen=True, slots=True)
class GpuClustering(TightestGpu):
    """Nodes with pods of the same kind first: shares together, whole GPUs by their number (FGD, section 6).

    gpu cost = units left on it
    node cost = (0 if the node has a pod of this kind, else 1; units left free on it)
    Pods that ask for no GPU find all nodes alike.
    """

    name: str = "gpu-clustering"

    def node_cost(self, node: NodeInfo, request: PodRequest, after: Sequence[int]) -> Cost:
        """Prefer nodes that have a pod of this kind, then full ones."""
        if not request.demands:
            return (0.0, 0.0)
        kind = request.whole_gpus
        for holder in node.holders:
            if holder.request is not None and holder.request.demands and holder.request.whole_gpus == kind:
                return (0.0, float(sum(after)))
        return (1.0, float(sum(after)))
