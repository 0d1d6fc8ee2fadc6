"""Gpushare: models gpushare's binpack behind the stock scheduler's own scores, as a baseline."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Cost
from extender.scheduling.policies.tightest import TightestGpu

_MAX = 100


@dataclass(frozen=True, slots=True)
class Gpushare(TightestGpu):
    """The tightest GPU of the node that kube-scheduler's default scores choose, which look at CPU and memory only.

    gpu cost = units left on it
    node cost = -(LeastAllocated + BalancedAllocation)
    LeastAllocated = mean over CPU and memory of floor(100 x free after / capacity)
    BalancedAllocation = floor(100 x (1 - standard deviation of the shares of CPU and memory used after))
    (kube-scheduler's NodeResourcesFit and NodeResourcesBalancedAllocation, both of weight 1)
    """

    name: str = "gpushare"

    def node_cost(self, node: NodeInfo, request: PodRequest, after: Sequence[int]) -> Cost:  # noqa: ARG002 (protocol)
        """Prefer nodes with much CPU and memory left, in balance."""
        record = node.record
        if not record.cpu_milli or not record.memory_bytes:
            return (0.0,)
        cpu_left = max(0, node.cpu_free_milli - request.cpu_milli)
        memory_left = max(0, node.memory_free_bytes - request.memory_bytes)
        least = (_MAX * cpu_left // record.cpu_milli + _MAX * memory_left // record.memory_bytes) // 2
        cpu, memory = 1 - cpu_left / record.cpu_milli, 1 - memory_left / record.memory_bytes
        balanced = int(_MAX * (1 - sqrt((cpu - memory) ** 2 / 4)))
        return (-float(least + balanced),)
