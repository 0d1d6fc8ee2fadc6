"""Draws the map: every GPU of every node as a small square, with one SVG path per level of fullness.

Forty thousand GPUs as elements of their own take a browser seconds; as the strokes of some paths, milliseconds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from extender.server.page.tiles import LEVELS, NODES_A_SLICE, OUT, Tile

WIDTH = 1200
"""Width of the map in its own units; the browser scales it."""


@dataclass(frozen=True, slots=True)
class Band:
    """The nodes of one kind: `paths` is an SVG path per level (empty without such GPUs).

    Node number `at` has its block in column `at % columns` of row `at // columns`, `block` wide and high; `first` is
    the number of the band's first node in the list of names.
    """

    name: str
    height: int
    cell: int
    columns: int
    block: tuple[int, int]
    paths: tuple[str, ...]
    nodes: int
    first: int


@dataclass(frozen=True, slots=True)
class Picture:
    """The whole map, and the names of its nodes in the order drawn."""

    bands: tuple[Band, ...]
    names: tuple[str, ...]


def picture(tiles: Sequence[Tile], pause: Callable[[], None] = lambda: None) -> Picture:
    """Draw these nodes, by kind, in the order given; the kinds with most GPUs first."""
    groups: dict[str, list[Tile]] = {}
    for tile in tiles:
        if tile.levels:
            groups.setdefault(tile.group, []).append(tile)
    ordered = sorted(groups.items(), key=lambda item: (-sum(len(tile.levels) for tile in item[1]), item[0]))
    cell = _cell(sum(len(tile.levels) for tile in tiles))
    bands: list[Band] = []
    names: list[str] = []
    for name, members in ordered:
        bands.append(_band(name, members, cell, len(names), pause))
        names += [tile.node.name for tile in members]
    return Picture(tuple(bands), tuple(names))


def _cell(gpus: int) -> int:
    """Side of a GPU's square, so that the map stays of the size of a screen."""
    return next(
        (cell for cell, most in ((16, 600), (12, 2_000), (8, 8_000), (6, 16_000), (5, 24_000)) if gpus <= most), 4
    )


def _band(name: str, tiles: Sequence[Tile], cell: int, first: int, pause: Callable[[], None]) -> Band:
    most = max(len(tile.levels) for tile in tiles)
    across = most if most < 4 else 4
    gap = max(3, cell // 3)
    block = (across * cell + gap, -(-most // across) * cell + gap)
    columns = max(1, WIDTH // block[0])
    strokes: list[list[str]] = [[] for _ in LEVELS]
    side = cell - 1
    for at, tile in enumerate(tiles):
        left, top = at % columns * block[0], at // columns * block[1]
        for number, level in enumerate(tile.levels):
            x, y = left + number % across * cell, top + number // across * cell
            if level == OUT:
                strokes[level].append(f"M{x} {y}l{side} {side}m0-{side}l-{side} {side}")
            else:
                strokes[level].append(f"M{x} {y + side / 2:g}h{side}")
        if at % NODES_A_SLICE == 0:
            pause()
    rows = -(-len(tiles) // columns)
    return Band(
        name=name,
        height=rows * block[1],
        cell=cell,
        columns=columns,
        block=block,
        paths=tuple("".join(each) for each in strokes),
        nodes=len(tiles),
        first=first,
    )
