"""Counts and prices nodes by physical GPU, however many MIG devices each is split into."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from extender.contract.inventory import InventoryGpu
from extender.contract.mig import card_of, model_of_card, says_mig
from extender.scheduling.nodes.node import GpuInfo, NodeRecord
from extender.scheduling.pods.models import ANY_MODEL, ModelPatterns, parse_models


def part_of_card(gpu: GpuInfo | InventoryGpu) -> float:
    """The part of a physical GPU that this is, over 0 to 1; 1 unless it is a MIG device."""
    return 1.0 if gpu.mig is None else gpu.mig.share


def models_of(record: NodeRecord) -> list[str]:
    """The product name of each physical GPU of a node."""
    gpus = record.inventory.gpus if record.inventory is not None else ()
    return list({card_of(gpu.uuid, gpu.mig): model_of_card(gpu.model, gpu.mig) for gpu in gpus}.values())


def count_of(record: NodeRecord) -> int:
    """Physical GPUs of a node."""
    return len(models_of(record))


def cost_of(record: NodeRecord, usd_per_hour: Callable[[str], float]) -> float:
    """What the GPUs of a node cost an hour; one that is split costs what it costs whole."""
    return sum(map(usd_per_hour, models_of(record)))


def unsplit(record: NodeRecord) -> NodeRecord:
    """The node as it would be with MIG mode off: each GPU whole, with the memory of its MIG devices."""
    inventory = record.inventory
    if inventory is None or not record.shape.slices:
        return record
    whole: dict[str, InventoryGpu] = {}
    for gpu in inventory.gpus:
        uuid = card_of(gpu.uuid, gpu.mig)
        before = whole.get(uuid)
        whole[uuid] = replace(
            gpu,
            uuid=uuid,
            model=model_of_card(gpu.model, gpu.mig),
            memory_mib=gpu.memory_mib + (before.memory_mib if before is not None else 0),
            healthy=gpu.healthy and (before is None or before.healthy),
            mig=None,
        )
    gpus = replace(inventory, gpus=tuple(whole.values()))
    return replace(record, inventory=gpus, whole_gpus=len(whole), memory_units=sum(map(gpus.units_of, gpus.gpus)))


def cards_by_slice(records: Iterable[NodeRecord]) -> dict[str, str]:
    """Product names of the MIG devices of some nodes, with those of their GPUs."""
    inventories = [record.inventory for record in records if record.inventory is not None]
    gpus = [gpu for inventory in inventories for gpu in inventory.gpus if gpu.mig is not None]
    return {gpu.model: model_of_card(gpu.model, gpu.mig) for gpu in gpus}


def of_cards(models: ModelPatterns, by_slice: Mapping[str, str]) -> ModelPatterns:
    """The patterns without what they say of MIG: `*MIG-1g.10gb` becomes `*`, `!*MIG*` goes.

    Where a pattern without MIG in it accepts MIG devices (`*1g.10gb`), their GPUs, by `cards_by_slice`, are accepted.
    """
    accepted = tuple(
        f"{pattern[: pattern.upper().index('MIG')].rstrip('-* ')}*" if says_mig(pattern) else pattern
        for pattern in models.accepted
    )
    if accepted:
        named = {card for name, card in by_slice.items() if models.match(name)}
        accepted += tuple(pattern for card in sorted(named) for pattern in parse_models(card).accepted)
    refused = tuple(pattern for pattern in models.refused if not says_mig(pattern))
    return ModelPatterns(accepted, refused) if accepted or refused else ANY_MODEL
