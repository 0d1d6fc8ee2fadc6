"""GPU clustering: pods that ask alike go to the same nodes."""

from collections.abc import Sequence
from dataclasses import dataclass

from extender.scheduling.node import NodeInfo
from extender.scheduling.policies.policy import Cost
from extender.scheduling.policies.tightest import tightest
from extender.scheduling.request import PodRequest


@dataclass(frozen=True, slots=True)
class GpuClustering:
    """Nodes with pods of the same kind first: shares together, whole GPUs by their number (FGD, section 6).

    gpu cost = units left on it
    node cost = (0 if its GPU pods are all of this kind, 1 if some are, 2 if it has none, 3 else; units left free)
    Pods that ask for no GPU find all nodes alike.
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
        if not request.demands:
            return (0.0, 0.0)
        kind = request.whole_gpus
        same = others = False
        for holder in node.holders:
            if holder.request is not None and holder.request.demands:
                if holder.request.whole_gpus == kind:
                    same = True
                else:
                    others = True
        order = float(others) if same else 2.0 + others
        return (order, float(sum(after)))
