"""Converts a trace's nodes and pods into what the extender sees of them: NodeRecord and PodRequest.

Relative: every GPU has 1000 units, so a unit is a thousandth of a GPU (FGD's problem). Absolute: `gpu_milli` means a
part of the memory of one reference card, so it is a larger part of a smaller card; units are of 256 MiB.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from bench.trace.reading import WHOLE_MILLI, TraceError, TraceNode, TracePod
from extender.contract.inventory import Inventory, InventoryGpu
from extender.contract.units import GpuUuid, UnitMib
from extender.scheduling.nodes.node import NodeRecord
from extender.scheduling.pods.models import ANY_MODEL, ModelPatterns
from extender.scheduling.pods.request import ContainerRequest, PodRequest, pod_request

UNIT_MIB = UnitMib(256)
_MIB = 1 << 20
_REFERENCE_MIB = 16 * 1024

CARD_MIB: Mapping[str, int] = {
    "T4": 15 * 1024,
    "P100": 16 * 1024,
    "V100M16": 16 * 1024,
    "V100M32": 32 * 1024,
    "A10": 24 * 1024,
    # Undisclosed in the trace; taken as cards of the size that was common when it was made.
    "G2": 32 * 1024,
    "G3": 80 * 1024,
}


@dataclass(frozen=True, slots=True)
class UnitMapping:
    """How thousandths of a GPU become memory units.

    Args:
        card_units: units of a GPU of this model.
        share_units: units of a share of so many thousandths; 0 when the share is a whole GPU.
    """

    name: str
    card_units: Callable[[str], int]
    share_units: Callable[[int], int]


def mapping_named(name: str) -> UnitMapping:
    """`relative` or `absolute`.

    Raises:
        TraceError: neither.
    """
    if name == "relative":
        return UnitMapping(name, lambda _: WHOLE_MILLI, lambda milli: 0 if milli == WHOLE_MILLI else milli)
    if name == "absolute":
        return UnitMapping(name, _card_units, _reference_units)
    raise TraceError(f"mapping {name!r}: expected relative or absolute")


def node_record(node: TraceNode, name: str, mapping: UnitMapping) -> NodeRecord:
    """The node, called `name`."""
    units = mapping.card_units(node.model)
    gpus = tuple(
        InventoryGpu(GpuUuid(f"GPU-{at}"), at, node.model, memory_mib=units * UNIT_MIB) for at in range(node.gpus)
    )
    return NodeRecord(
        name=name,
        uid=node.name,
        resource_version=1,
        inventory=Inventory(UNIT_MIB, gpus),
        memory_units=units * node.gpus,
        whole_gpus=node.gpus,
        cpu_milli=node.cpu_milli,
        memory_bytes=node.memory_mib * _MIB,
    )


@lru_cache(maxsize=65536)
def request_of(pod: TracePod, mapping: UnitMapping, *, exclusive: bool = False) -> PodRequest:
    """What the pod asks for; with `exclusive` its share becomes a whole GPU."""
    containers: tuple[ContainerRequest, ...] = ()
    if pod.gpus:
        units = 0 if exclusive else mapping.share_units(pod.gpu_milli)
        containers = (ContainerRequest("main", memory_units=units, gpus=0 if units else pod.gpus),)
    request = pod_request(
        containers,
        models=ModelPatterns(accepted=pod.models) if pod.models else ANY_MODEL,
        cpu_milli=pod.cpu_milli,
        memory_bytes=pod.memory_mib * _MIB,
    )
    return _interned(request)


@lru_cache(maxsize=65536)
def _interned(request: PodRequest) -> PodRequest:
    return request


def _card_units(model: str) -> int:
    try:
        return CARD_MIB[model] // UNIT_MIB
    except KeyError:
        raise TraceError(f"model {model!r}: its memory is unknown, expected one of {', '.join(CARD_MIB)}") from None


def _reference_units(milli: int) -> int:
    return 0 if milli == WHOLE_MILLI else -(-milli * _REFERENCE_MIB // (WHOLE_MILLI * UNIT_MIB))
