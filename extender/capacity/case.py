"""Defines the input of a cost report: the nodes and pods of a cluster, whatever their source."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from extender.capacity.eligibility import ANYWHERE, Constraints, NodeTraits
from extender.contract.units import UnitMib
from extender.scheduling.nodes.node import NodeRecord
from extender.scheduling.pods.footprint import Footprint
from extender.scheduling.pods.request import PodRequest


class CaseError(ValueError):
    """A dump, cluster or file cannot be reported on; the message says what was expected."""


@dataclass(frozen=True, slots=True)
class GpuPod:
    """A pod that asks for GPUs.

    Args:
        name: for people.
        namespace: whose it is.
        workload: what kind of work it is.
        asked: what it asks for.
        request: what it needs when it is packed again; a share where that is known.
        node: where it runs now; empty when it waits.
        footprint: the GPUs that it holds there, where that is known.
        constraints: what else it requires of its node, where that is known.
    """

    name: str
    namespace: str
    workload: str
    asked: PodRequest
    request: PodRequest
    node: str = ""
    footprint: Footprint | None = None
    constraints: Constraints = ANYWHERE


@dataclass(frozen=True, slots=True)
class Case:
    """What the report is about.

    Args:
        source: where it comes from, for people.
        unit_mib: memory unit of requests and nodes.
        nodes: the nodes, by name in ascending order.
        pods: the pods that ask for GPUs, in the order in which they are packed.
        taken: CPU and memory per node that other pods have: (cpu_milli, memory_bytes).
        notes: what was left out or assumed.
        placed: whether the pods run somewhere now.
        traits: what nodes say of themselves, by name; one that is missing takes any pod.
    """

    source: str
    unit_mib: UnitMib
    nodes: tuple[NodeRecord, ...]
    pods: tuple[GpuPod, ...]
    taken: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    placed: bool = False
    traits: Mapping[str, NodeTraits] = field(default_factory=dict)
