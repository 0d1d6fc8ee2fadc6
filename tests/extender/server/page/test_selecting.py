"""Which nodes are shown, in which order, on which page, and the sums over them."""

import pytest

from extender.server.page.query import Query
from extender.server.page.selecting import PAGE_NODES, page_of, select, sum_up, sums_by_group
from extender.server.page.tiles import Tile, Tiles
from tests.extender.cluster import Cluster
from tests.extender.objects import node, uuid


def cluster() -> Cluster:
    """An idle node, a full one, a half-full one, one with a GPU that is unhealthy."""
    made = Cluster(
        node("n10", 16, model="Tesla T4"),
        node("n2", 16, model="Tesla T4"),
        node("n1", 40, model="NVIDIA A100"),
        node("sick", 16, 16, model="Tesla T4", unhealthy=[uuid("sick", 0)]),
    )
    made.show_bound("train", 16, uuid("n2", 0), "n2")
    made.show_bound("chat", 20, uuid("n1", 0), "n1")
    made.show_bound("chat-2", 8, uuid("sick", 1), "sick")
    return made


def names(query: Query) -> list[str]:
    """The nodes that a query shows."""
    return [tile.node.name for tile in select(Tiles().update(cluster().state.snapshot()), query)]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Query(), ["n1", "n2", "n10", "sick"]),
        (Query(group="T4"), ["n2", "n10", "sick"]),
        (Query(state="idle"), ["n10"]),
        (Query(state="full"), ["n2"]),
        (Query(state="free"), ["n1", "n10", "sick"]),
        (Query(state="problem"), ["sick"]),
        (Query(sort="free"), ["n1", "n10", "sick", "n2"]),
        (Query(sort="used"), ["n2", "sick", "n1", "n10"]),
        (Query(q="N1"), ["n1", "n10"]),
        (Query(q="default/chat"), ["n1", "sick"]),
        (Query(q="GPU-n2-0"), ["n2"]),
        (Query(q="a100"), ["n1"]),
        (Query(q="chat", state="problem", group="T4"), ["sick"]),
        (Query(q="nothing"), []),
    ],
)
def test_a_query_shows_these_nodes_in_this_order(query: Query, expected: list[str]) -> None:
    """By name (numbers as numbers), by kind, by state, by text in any of their names."""
    assert names(query) == expected


def tiles(count: int) -> list[Tile]:
    """So many alike."""
    return list(Tiles().update(Cluster(*(node(f"n{at}", 16) for at in range(count))).state.snapshot()).values())


def test_a_page_is_a_part_and_the_last_one_when_there_are_fewer() -> None:
    """Whatever number an old address has."""
    many = tiles(PAGE_NODES + 3)
    pages = [page_of(many, number) for number in (1, 2, 9)]
    assert [(page.number, page.pages, page.first, len(page.items), page.total) for page in pages] == [
        (1, 2, 0, PAGE_NODES, PAGE_NODES + 3),
        (2, 2, PAGE_NODES, 3, PAGE_NODES + 3),
        (2, 2, PAGE_NODES, 3, PAGE_NODES + 3),
    ]
    assert page_of([], 1).pages == 1


def test_sums_count_each_gpu_once_by_level() -> None:
    """The kinds with most memory first; together they are all."""
    found = list(Tiles().update(cluster().state.snapshot()).values())
    rows = sums_by_group(found)
    assert [(row.name, row.nodes, row.levels, row.capacity) for row in rows] == [
        ("T4", 3, (1, 0, 1, 0, 0, 1, 1), 64),
        ("A100", 1, (0, 0, 1, 0, 0, 0, 0), 40),
    ]
    everything = sum_up("all", found)
    assert (everything.gpus, everything.allocated, everything.free) == (5, 44, 44)
