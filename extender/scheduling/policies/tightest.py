"""Chooses the tightest GPU of a node, as most baselines do."""

from collections.abc import Sequence

from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.policies.policy import Cost


class TightestGpu:
    """The part of a policy that chooses the GPU where least is left; the node is chosen by the subclass."""

    __slots__ = ()

    def gpu_costs(
        self,
        node: NodeInfo,  # noqa: ARG002 (protocol)
        free: Sequence[int],
        candidates: Sequence[int],
        units: int,
        cpu_milli: int,  # noqa: ARG002 (protocol)
    ) -> Sequence[Cost]:
        """Cost of each candidate: units left on it after `units` are taken; GPUs held whole are alike."""
        if not units:
            return [(0.0,)] * len(candidates)
        return [(float(free[at] - units),) for at in candidates]
