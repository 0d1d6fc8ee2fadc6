"""Defines what a policy may know of the cluster and its demand, as one value."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from extender.scheduling.learning.fragmentation import TypicalPod
from extender.scheduling.nodes.shape import NodeShape


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """Estimated from counted pods and known nodes; compared by identity.

    Args:
        holes: per GPU size in units, the value of `r` free units for every `r` up to that size; a size that is missing
            is worth what it measures.
        cpu_per_unit: thousandths of a core that go with one unit of GPU; None when unknown.
        abundance: per shape of node, how easily the demand finds room elsewhere; 1 is the mean, 0 scarce.
        typical: kinds of pods that make up most of the demand.
        reference_units: units of the cluster's average GPU.
        largest_cpu_milli: CPU of the largest node.
        largest_units: GPU units of the largest node.
    """

    holes: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    cpu_per_unit: float | None = None
    abundance: Mapping[NodeShape, float] = field(default_factory=dict)
    typical: tuple[TypicalPod, ...] = ()
    reference_units: float = 1.0
    largest_cpu_milli: int = 1
    largest_units: int = 1


UNLEARNED = Weights()
"""Before any node or pod is known."""
