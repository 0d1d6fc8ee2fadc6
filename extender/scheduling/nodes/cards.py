"""Groups what a node offers by physical GPU: the MIG devices of one GPU belong together in every count of GPUs."""

from extender.contract.mig import card_of
from extender.contract.units import GpuUuid
from extender.scheduling.nodes.node import GpuInfo, NodeInfo

Card = tuple[GpuInfo, ...]
"""One physical GPU: itself alone, or all of its MIG devices."""


def cards_of(node: NodeInfo) -> list[Card]:
    """The physical GPUs of a node, in its order."""
    if not node.record.shape.slices:
        return [(gpu,) for gpu in node.gpus]
    found: dict[GpuUuid, list[GpuInfo]] = {}
    for gpu in node.gpus:
        found.setdefault(card_of(gpu.uuid, gpu.mig), []).append(gpu)
    return [tuple(parts) for parts in found.values()]


def is_idle(card: Card) -> bool:
    """Whether nothing is on any part of it."""
    return all(part.idle for part in card)
