"""Computes what each node adds to the map and the sums, again only for nodes that changed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from extender.scheduling.nodes.cards import cards_of, is_idle
from extender.scheduling.nodes.node import GpuInfo, Hold, NodeInfo
from extender.scheduling.nodes.snapshot import Snapshot

IDLE, FULL, OUT = 0, 5, 6
LEVELS = ("idle", "up to 25 %", "up to 50 %", "up to 75 %", "below 100 %", "full", "not usable")
"""How full a GPU is, by level."""

NODES_A_SLICE = 16
"""Nodes between two pauses: well below a millisecond, so that a filter call never waits long."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One node that has GPUs or should have: levels of its GPUs and MIG devices, and its memory in units.

    `cards` is the number of its physical GPUs, `idle` of those that are idle as a whole.
    """

    node: NodeInfo
    group: str
    levels: tuple[int, ...]
    capacity: int
    allocated: int
    held: int
    outside: int
    free: int
    hole: int
    problem: str
    cards: int
    idle: int

    @property
    def troubled(self) -> bool:
        """Whether an admin should look at it."""
        return bool(self.problem) or OUT in self.levels


def short_model(model: str) -> str:
    """A model without the vendor's words: `A100-SXM4-80GB`, `T4`."""
    return model.removeprefix("NVIDIA ").removeprefix("Tesla ").removeprefix("GeForce ") or "unknown"


def level_of(gpu: GpuInfo, *, serving: bool = True) -> int:
    """How full it is, 0 to 5, or that no pod can get of it."""
    if not (serving and gpu.healthy and gpu.capacity):
        return OUT
    if gpu.free == 0:
        return FULL
    return -(-4 * (gpu.taken + gpu.outside) // gpu.capacity)


def problem_of(node: NodeInfo) -> str:
    """What is wrong with the node as a whole; empty when nothing is."""
    record = node.record
    if record.inventory_error:
        return record.inventory_error
    if record.inventory is None:
        return "offers GPUs but has no inventory" if record.memory_units or record.whole_gpus else ""
    if not node.unit_matches:
        return f"its device plugin uses units of {record.inventory.unit_mib} MiB"
    if not (record.memory_units or record.whole_gpus or node.all_unhealthy):
        return "its device plugin is not serving"
    return ""


def tile_of(node: NodeInfo) -> Tile:
    """The tile of one node."""
    problem = problem_of(node)
    models = sorted({short_model(gpu.model) for gpu in node.gpus})
    cards = cards_of(node)
    held = 0
    for holder in node.holders:
        if holder.hold in {Hold.ASSUMED, Hold.HELD} and holder.footprint is not None:
            held += sum(holder.footprint.shares.values())
            held += sum(gpu.capacity for gpu in node.gpus if gpu.uuid in holder.footprint.whole)
    # A claim is on memory that evicted pods may still have: only what nobody has is held for it now.
    claimed = sum(max(0, min(gpu.claimed, gpu.capacity - gpu.used - gpu.outside)) for gpu in node.gpus if gpu.claimed)
    return Tile(
        node=node,
        group=" + ".join(models) or "no GPU known",
        levels=tuple([level_of(gpu, serving=not problem) for gpu in node.gpus]),
        capacity=sum(gpu.capacity for gpu in node.gpus),
        allocated=max(0, sum(gpu.used for gpu in node.gpus) - held),
        held=held + claimed,
        outside=sum(gpu.outside for gpu in node.gpus),
        free=sum(node.free),
        hole=max(node.free, default=0),
        problem=problem,
        cards=len(cards),
        idle=0 if problem else sum(map(is_idle, cards)),
    )


class Tiles:
    """Tiles of all GPU nodes by name, kept in step with snapshots; its owner serializes the calls."""

    def __init__(self, pause: Callable[[], None] = lambda: None) -> None:
        """`pause` is called between the steps of long work, to let other threads run."""
        self._pause = pause
        self._known: dict[str, Tile | None] = {}
        self._nodes: dict[str, NodeInfo] = {}

    def update(self, snapshot: Snapshot) -> Mapping[str, Tile]:
        """The tiles of this snapshot; nodes without GPUs have none."""
        changed = 0
        known: dict[str, Tile | None] = {}
        for name, node in snapshot.nodes.items():
            if self._nodes.get(name) is node:
                known[name] = self._known[name]
                continue
            known[name] = tile_of(node) if node.gpus or problem_of(node) else None
            changed += 1
            if changed % NODES_A_SLICE == 0:
                self._pause()
        self._known, self._nodes = known, dict(snapshot.nodes)
        return {name: tile for name, tile in known.items() if tile is not None}
