"""GPU clustering: pods that ask alike go to the same nodes."""

from collections.abc import Sequence
from dataclasses import dataclass

from extender.scheduling.node import NodeInfo
from extender.scheduling.policies.policy import Cost
from extender.scheduling.policies.tightest import tightest
from extender.scheduling.request import PodRequest


@dataclass(frozen=True, slots=True)
class GpuClustering:
    """Nodes with pods of the same kind first: shares together, whole GPUs by their number (Gandiva; baseline of FGD).

    gpu cost = units left on it
    node cost = (pods of another kind - pods of this kind on the node, units left free)
    """

    name: str = "gpu-clustering"

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

    def node_cost(self, node: NodeInfo, request: PodRequest, after: Sequence[int]) -> Cost:
        """Prefer nodes of the pod's own kind, then nodes without GPU pods, then those of other kinds."""
        kind = request.whole_gpus
        same = others = 0
        for holder in node.holders:
            if holder.request is not None and holder.request.demands:
                if holder.request.whole_gpus == kind:
                    same += 1
                else:
                    others += 1
        return (float(0 if same and not others else 1 if same else 2 if not others else 3), float(sum(after)))
