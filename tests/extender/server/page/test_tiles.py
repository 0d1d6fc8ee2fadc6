"""What a node adds to the map, and that only changed nodes are looked at again."""

import pytest

from extender.contract.units import GpuUuid
from extender.scheduling.nodes.node import GpuInfo
from extender.server.page.bars import card, palette
from extender.server.page.query import Query
from extender.server.page.selecting import select, sum_up
from extender.server.page.tiles import FULL, IDLE, OUT, Tile, Tiles, level_of, short_model
from tests.extender.cluster import Cluster
from tests.extender.objects import mixed_node, node, pod, uuid


def tile(cluster: Cluster, name: str = "a") -> Tile:
    """The tile of one node."""
    return Tiles().update(cluster.state.snapshot())[name]


@pytest.mark.parametrize(
    ("used", "outside", "level"),
    [(0, 0, 0), (1, 0, 1), (4, 0, 1), (5, 0, 2), (8, 0, 2), (6, 6, 3), (15, 0, 4), (16, 0, 5), (20, 0, 5), (10, 6, 5)],
)
def test_a_level_is_a_quarter_of_the_memory(used: int, outside: int, level: int) -> None:
    """Idle and full have their own."""
    assert level_of(GpuInfo(uuid("a", 0), 0, "T4", 16, used, outside)) == level


def test_a_gpu_that_no_pod_can_get_is_out() -> None:
    """Unhealthy, without memory, or of a node whose plugin does not serve."""
    good = GpuInfo(uuid("a", 0), 0, "T4", 16)
    assert level_of(GpuInfo(uuid("a", 0), 0, "T4", 16, healthy=False)) == OUT
    assert level_of(GpuInfo(uuid("a", 0), 0, "T4", 0)) == OUT
    assert (level_of(good), level_of(good, serving=False)) == (IDLE, OUT)


def test_memory_adds_up() -> None:
    """What bound pods have, what is held, what is free; whole GPUs count in full."""
    cluster = Cluster(node("a", 16, 16, 16))
    cluster.show_bound("p", 10, uuid("a", 0), "a")
    cluster.hold(pod("q", gpus=1), "a")
    made = tile(cluster)
    assert (made.capacity, made.allocated, made.held, made.outside, made.free, made.hole) == (48, 10, 16, 0, 22, 16)
    assert sorted(made.levels) == [IDLE, 3, FULL]
    assert not made.troubled


def test_trouble_is_named() -> None:
    """A GPU, the plugin, the unit, the inventory."""
    idle = node("plugin", 16)
    idle["status"]["allocatable"].update({"gpupack.io/gpu-mem": "0", "gpupack.io/gpu": "0"})
    sick = node("gpu", 16, 16, unhealthy=[uuid("gpu", 1)])
    cluster = Cluster(sick, idle, node("inventory", 16, annotations={"inventory": "{"}))
    tiles = Tiles().update(cluster.state.snapshot())
    assert {name: each.troubled for name, each in tiles.items()} == dict.fromkeys(("gpu", "plugin", "inventory"), True)
    assert tiles["gpu"].problem == ""
    assert tiles["plugin"].problem == "its device plugin is not serving"
    assert tiles["plugin"].levels == (OUT,)
    assert tiles["inventory"].problem.startswith("inventory: not JSON")


def test_nodes_without_gpus_have_no_tile() -> None:
    """They are counted elsewhere."""
    assert Tiles().update(Cluster(node("cpu"), node("a", 16)).state.snapshot()).keys() == {"a"}


def test_a_node_is_of_the_kind_of_its_models() -> None:
    """Without the vendor's words."""
    assert tile(Cluster(node("a", 16, model="NVIDIA A100-SXM4-80GB"))).group == "A100-SXM4-80GB"
    assert [short_model("Tesla T4"), short_model("NVIDIA GeForce RTX 4090"), short_model("")] == [
        "T4",
        "RTX 4090",
        "unknown",
    ]


def test_a_node_that_did_not_change_keeps_its_tile() -> None:
    """The same object: nothing was computed."""
    cluster = Cluster(node("a", 16), node("b", 16))
    tiles = Tiles()
    before = tiles.update(cluster.state.snapshot())
    cluster.show_bound("p", 10, uuid("a", 0), "a")
    after = tiles.update(cluster.state.snapshot())
    assert after["b"] is before["b"]
    assert after["a"].allocated == 10
    cluster.drop_node("b")
    assert tiles.update(cluster.state.snapshot()).keys() == {"a"}


def test_a_gpu_in_mig_devices_is_one_gpu_with_a_level_for_each() -> None:
    """The map has a cell for each; the sums count GPUs."""
    cluster = Cluster(mixed_node("a"))
    cluster.show_bound("p", 9, GpuUuid("MIG-a-1-1"), "a")
    made = tile(cluster)
    assert (made.cards, made.levels) == (2, (IDLE, IDLE, FULL, IDLE))
    total = sum_up("all", [made])
    assert (total.gpus, total.devices) == (2, 4)
    assert [bar.place for bar in card(made, palette([made], "")).bars] == ["0", "1:0", "1:1", "1:2"]


def test_a_mig_device_is_found_by_the_uuid_of_its_gpu() -> None:
    """And by its own."""
    tiles = Tiles().update(Cluster(mixed_node("a"), node("b", 16)).state.snapshot())
    for words in ("GPU-a-1", "MIG-a-1-2", "MIG 3g"):
        assert [one.node.name for one in select(tiles, Query(q=words))] == ["a"]
