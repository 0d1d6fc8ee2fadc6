"""The map draws each GPU once, in its node's block, in the path of its level."""

import re

import pytest

from extender.server.page.picturing import WIDTH, Picture, picture
from extender.server.page.tiles import FULL, IDLE, OUT, Tile, Tiles
from tests.extender.cluster import Cluster
from tests.extender.objects import node, uuid

_START = re.compile(r"M([\d.]+) ([\d.]+)")


def drawn(cluster: Cluster) -> tuple[Picture, list[Tile]]:
    """The map of a cluster."""
    tiles = sorted(Tiles().update(cluster.state.snapshot()).values(), key=lambda tile: tile.node.name)
    return picture(tiles), tiles


def test_every_gpu_is_a_stroke_of_the_path_of_its_level() -> None:
    """One full, one idle, one that is not usable, as a cross."""
    cluster = Cluster(node("a", 16, 16, 16, unhealthy=[uuid("a", 2)]))
    cluster.show_bound("p", 16, uuid("a", 0), "a")
    ((band,), _) = drawn(cluster)[0].bands, None
    strokes = {level: len(_START.findall(path)) for level, path in enumerate(band.paths) if path}
    assert strokes == {FULL: 1, IDLE: 1, OUT: 1}
    assert band.paths[OUT].count("l") == 2


@pytest.mark.parametrize("nodes", [1, 90, 700])
@pytest.mark.parametrize("gpus", [1, 2, 3, 8])
def test_a_pointer_on_a_square_finds_the_node_that_it_belongs_to(nodes: int, gpus: int) -> None:
    """By the columns and the block, as the page's script reckons."""
    result, tiles = drawn(Cluster(*(node(f"n{at:03}", *[16] * gpus) for at in range(nodes))))
    (band,) = result.bands
    assert list(result.names) == [tile.node.name for tile in tiles]
    found: dict[int, int] = {}
    for x, y in _START.findall(band.paths[IDLE]):
        at = int(float(y) // band.block[1]) * band.columns + int(float(x) // band.block[0])
        found[at] = found.get(at, 0) + 1
        assert float(x) + band.cell <= WIDTH
        assert float(y) < band.height
    assert found == dict.fromkeys(range(nodes), gpus)


def test_each_kind_has_its_band_and_its_part_of_the_names() -> None:
    """The kind with most GPUs first."""
    result, _ = drawn(Cluster(node("a", 40, model="A100"), node("b", 16, 16), node("c", 16, 16)))
    assert [(band.name, band.nodes, band.first) for band in result.bands] == [("T4", 2, 0), ("A100", 1, 2)]
    assert result.names == ("b", "c", "a")


def test_forty_thousand_gpus_are_few_elements_and_less_than_a_megabyte() -> None:
    """What a browser draws at once."""
    tiles = list(Tiles().update(Cluster(*(node(f"n{at}", *[16] * 8) for at in range(100))).state.snapshot()).values())
    result = picture(tiles * 50)
    assert sum(len(band.paths) for band in result.bands) == 7
    assert 300_000 < sum(len(path) for band in result.bands for path in band.paths) < 1_000_000
