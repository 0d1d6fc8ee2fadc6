"""Selects and orders the nodes that a query asks for, and sums them up by kind."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from extender.contract.cordon import names_of
from extender.contract.quantity import parse_digits
from extender.server.page.query import Query
from extender.server.page.tiles import LEVELS, NODES_A_SLICE, Tile

PAGE_NODES = 32
_DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True, slots=True)
class Sums:
    """Nodes of one kind, or all of them: how many, GPUs and MIG devices by level, memory in units, physical GPUs."""

    name: str
    nodes: int
    levels: tuple[int, ...]
    capacity: int
    allocated: int
    held: int
    outside: int
    free: int
    gpus: int
    idle: int

    @property
    def devices(self) -> int:
        """GPUs, each MIG device counted as one."""
        return sum(self.levels)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a longer list: its items, where it stands, and how many items there are."""

    items: Sequence[Tile]
    number: int
    pages: int
    first: int
    total: int


def select(tiles: Mapping[str, Tile], query: Query, pause: Callable[[], None] = lambda: None) -> list[Tile]:
    """The nodes that the query asks for, in its order; ties by name, numbers in names counted as numbers."""
    wanted = query.q.casefold()
    found: list[Tile] = []
    for at, tile in enumerate(tiles.values()):
        if at % NODES_A_SLICE == 0:
            pause()
        if (
            (not query.group or tile.group == query.group)
            and _is(tile, query.state)
            and (not wanted or any(wanted in text.casefold() for text in _texts(tile)))
        ):
            found.append(tile)
    found.sort(key=lambda tile: _natural(tile.node.name))
    if query.sort == "free":
        found.sort(key=lambda tile: (-tile.hole, -tile.free))
    elif query.sort == "used":
        found.sort(key=lambda tile: tile.free / tile.capacity if tile.capacity else 1.0)
    return found


def page_of(tiles: Sequence[Tile], number: int) -> Page:
    """One page; the last one when there are fewer."""
    pages = max(1, -(-len(tiles) // PAGE_NODES))
    number = min(number, pages)
    first = (number - 1) * PAGE_NODES
    return Page(tiles[first : first + PAGE_NODES], number, pages, first, len(tiles))


def sums_by_group(tiles: Iterable[Tile]) -> list[Sums]:
    """One row per kind of node, the largest first."""
    groups: dict[str, list[Tile]] = {}
    for tile in tiles:
        groups.setdefault(tile.group, []).append(tile)
    rows = [sum_up(name, members) for name, members in groups.items()]
    return sorted(rows, key=lambda row: (-row.capacity, row.name))


def sum_up(name: str, tiles: Sequence[Tile]) -> Sums:
    """The sums of these nodes."""
    levels: Counter[int] = Counter()
    for tile in tiles:
        levels.update(tile.levels)
    return Sums(
        name=name,
        nodes=len(tiles),
        levels=tuple(levels[level] for level in range(len(LEVELS))),
        capacity=sum(tile.capacity for tile in tiles),
        allocated=sum(tile.allocated for tile in tiles),
        held=sum(tile.held for tile in tiles),
        outside=sum(tile.outside for tile in tiles),
        free=sum(tile.free for tile in tiles),
        gpus=sum(tile.cards for tile in tiles),
        idle=sum(tile.idle for tile in tiles),
    )


def _is(tile: Tile, state: str) -> bool:
    match state:
        case "free":
            return tile.free > 0
        case "idle":
            return tile.idle > 0
        case "full":
            return tile.free == 0
        case "problem":
            return tile.troubled
    return True


def _texts(tile: Tile) -> Iterable[str]:
    yield tile.node.name
    for gpu in tile.node.gpus:
        yield from names_of(gpu.uuid, gpu.mig)
        yield gpu.model
    for holder in tile.node.holders:
        yield f"{holder.namespace}/{holder.name}"


def _natural(name: str) -> list[tuple[int, str]]:
    parts = [(parse_digits(part), part) for part in _DIGITS.split(name)]
    return [(-1, part) if number is None else (number, "") for number, part in parts]
