"""What a packing policy is: from a node, a request and what would be left, to costs that decide."""

from collections.abc import Sequence
from typing import Protocol

from extender.scheduling.node import NodeInfo
from extender.scheduling.request import PodRequest

Cost = tuple[float, ...]
"""Smaller is better, compared from left to right; costs of one policy have one length."""


class Policy(Protocol):
    """Ranks what fits; it is never asked about what does not fit, and never decides that.

    Both methods are pure. Ties are broken by the GPU's position and by the node's name.
    """

    @property
    def name(self) -> str:
        """Name in settings, annotations and reports."""
        ...

    def gpu_cost(self, node: NodeInfo, free: Sequence[int], position: int, units: int) -> Cost:
        """Cost of taking `units` of the GPU at `position` while `free[position] >= units` are free on it."""
        ...

    def node_cost(self, node: NodeInfo, request: PodRequest, after: Sequence[int]) -> Cost:
        """Cost of placing `request` on `node` so that `after` units are left free on its GPUs."""
        ...
