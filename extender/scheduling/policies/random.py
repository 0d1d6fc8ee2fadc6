"""Random: any node that can take the pod, as a baseline."""

from collections.abc import Sequence
from dataclasses import dataclass

from extender.scheduling.node import NodeInfo
from extender.scheduling.policies.policy import Cost
from extender.scheduling.policies.tightest import tightest
from extender.scheduling.request import PodRequest


@dataclass(frozen=True, slots=True)
class Random:
    """All nodes cost the same, and whoever asks breaks the ties at random, as the benchmark does.

    A policy has no randomness of its own; where ties are broken by name, this is first fit.

    gpu cost = units left on it
    node cost = 0
    """

    name: str = "random"

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
        """Prefer no node."""
        return (0.0,)
