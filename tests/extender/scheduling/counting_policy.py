"""A policy that packs as another does and counts the nodes that it is asked about."""

from collections.abc import Sequence

from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Cost, Policy


class CountingPolicy:
    """`judged`: nodes that were given a cost so far."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.name = policy.name
        self.judged = 0

    def gpu_costs(
        self, node: NodeInfo, free: Sequence[int], candidates: Sequence[int], units: int, cpu_milli: int
    ) -> Sequence[Cost]:
        """As the other's."""
        return self._policy.gpu_costs(node, free, candidates, units, cpu_milli)

    def node_cost(self, node: NodeInfo, request: PodRequest, after: Sequence[int]) -> Cost:
        """As the other's."""
        self.judged += 1
        return self._policy.node_cost(node, request, after)
