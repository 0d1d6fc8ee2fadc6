"""Defines the protocol of a packing policy: costs of GPUs and nodes, of which the lowest wins."""

from collections.abc import Sequence
from typing import Protocol

from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.request import PodRequest

Cost = tuple[float, ...]
"""Smaller is better, compared from left to right; costs of one policy have one length."""


class Policy(Protocol):
    """Ranks what fits; it is never asked about what does not fit, and never decides that.

    Both methods are pure and blind to names: nodes that differ in their name only cost the same. Ties are broken by the
    GPU's position and by the node's name. A policy is an immutable, hashable value: answers are remembered per policy,
    and a policy with newly learned weights is another policy.
    """

    @property
    def name(self) -> str:
        """Name in settings, annotations and reports."""
        ...

    def gpu_costs(
        self, node: NodeInfo, free: Sequence[int], candidates: Sequence[int], units: int, cpu_milli: int
    ) -> Sequence[Cost]:
        """Cost of each of the GPUs at the positions `candidates` for one demand of a pod that asks for `cpu_milli`.

        The demand takes `units` of a GPU, which has `free[position] >= units` left; 0 means that it holds it whole.
        """
        ...

    def node_cost(self, node: NodeInfo, request: PodRequest, after: Sequence[int]) -> Cost:
        """Cost of placing `request` on `node` so that `after` units are left free on its GPUs.

        A request may ask for no GPU at all; then `after` is what is free now.
        """
        ...
