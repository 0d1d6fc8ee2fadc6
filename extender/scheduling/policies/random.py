"""Random: takes any GPU of any node that has room, as a baseline."""

from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Cost


@dataclass(frozen=True, slots=True)
class Random:
    """All nodes cost the same, and the caller breaks the ties at random, as the benchmark does.

    A policy has no randomness of its own: the GPU is drawn by a hash, and where ties of nodes are broken by name, this
    is first fit.

    gpu cost = hash of what is free on the node's GPUs, its position and the units asked for
    node cost = 0
    """

    name: str = "random"

    def gpu_costs(
        self,
        node: NodeInfo,
        free: Sequence[int],
        candidates: Sequence[int],
        units: int,
        cpu_milli: int,  # noqa: ARG002 (protocol)
    ) -> Sequence[Cost]:
        """Prefer no GPU."""
        seed = repr((free, units, node.cpu_used_milli))
        return [(float(crc32(f"{seed}{at}".encode())),) for at in candidates]

    def node_cost(self, node: NodeInfo, request: PodRequest, after: Sequence[int]) -> Cost:  # noqa: ARG002 (protocol)
        """Prefer no node."""
        return (0.0,)
