"""Random: any node that can take the pod, as a baseline; repeatable without a source of randomness."""

from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

from extender.scheduling.node import NodeInfo
from extender.scheduling.policies.policy import Cost
from extender.scheduling.policies.tightest import tightest
from extender.scheduling.request import PodRequest


@dataclass(frozen=True, slots=True)
class Random:
    """The order of nodes is a hash of the node's name and of its state, so it looks random and repeats itself.

    gpu cost = units left on it
    node cost = hash of the node's name, its free units and CPU, and the request's size
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

    def node_cost(self, node: NodeInfo, request: PodRequest, after: Sequence[int]) -> Cost:
        """Prefer no node."""
        text = f"{node.name}/{node.free}/{node.cpu_free_milli}/{after}/{request.cpu_milli}"
        return (float(crc32(text.encode())),)
