"""A node's card: a part per pod on a bar per GPU, in pixels and colours."""

import pytest

from extender.server.page.bars import COLOURS, WIDTH, Card, Palette, card, palette, workload_of
from extender.server.page.tiles import Tiles
from tests.extender.cluster import Cluster
from tests.extender.objects import allocation, node, pod, uuid


def carded(cluster: Cluster, by: str = "") -> Card:
    """The card of the node `a`."""
    tile = Tiles().update(cluster.state.snapshot())["a"]
    return card(tile, palette([tile], by))


def test_pods_lie_side_by_side_in_proportion() -> None:
    """A quarter, a half, and room for the rest."""
    cluster = Cluster(node("a", 16))
    cluster.show_bound("p", 4, uuid("a", 0), "a")
    cluster.show_bound("q", 8, uuid("a", 0), "a")
    (bar,) = carded(cluster).bars
    assert [(part.label, part.units, part.x, part.width, part.state) for part in bar.parts] == [
        ("default/p", 4, 0, WIDTH // 4 - 1, "bound"),
        ("default/q", 8, WIDTH // 4, WIDTH // 2 - 1, "bound"),
    ]
    assert (bar.used, bar.free, bar.capacity) == (12, 4, 16)


def test_what_is_held_and_whole_is_marked() -> None:
    """Not only by colour."""
    cluster = Cluster(node("a", 16, 16))
    cluster.hold(pod("p", 4))
    cluster.show(pod("q", gpus=1, node="a", annotations={"allocation": whole("a", 1)}))
    first, second = carded(cluster).bars
    assert [part.state for part in first.parts] == ["held"]
    assert [(part.state, part.units) for part in second.parts] == [("whole", 16)]


def whole(name: str, at: int) -> str:
    """The annotation of a pod with a whole GPU of 16 units."""
    return f'{{"version":1,"unitMib":1024,"containers":{{"main":{{"{uuid(name, at)}":16}}}}}}'


def test_pods_of_unknown_place_are_a_part_without_a_name() -> None:
    """Charged where it hurts most; the card names them."""
    cluster = Cluster(node("a", 16))
    cluster.show(pod("lost", 4, node="a"))
    made = carded(cluster)
    (part,) = made.bars[0].parts
    assert (part.label, part.units, part.state, part.colour) == ("pods on unknown GPUs", 4, "unknown", -1)
    assert made.unplaced == ("default/lost",)


def test_an_overcommitted_gpu_stays_within_its_bar() -> None:
    """All parts show; none sticks out."""
    cluster = Cluster(node("a", 16))
    for name in ("p", "q", "r"):
        cluster.show_bound(name, 10, uuid("a", 0), "a")
    (bar,) = carded(cluster).bars
    assert max(part.x + part.width for part in bar.parts) <= WIDTH
    assert [part.units for part in bar.parts] == [10, 10, 10]


def test_the_smallest_share_still_shows() -> None:
    """One unit of many."""
    cluster = Cluster(node("a", 4000))
    cluster.show_bound("p", 1, uuid("a", 0), "a")
    ((part,),) = [bar.parts for bar in carded(cluster).bars]
    assert part.width == 1


def test_an_unhealthy_gpu_says_why_and_is_not_usable() -> None:
    """Its pods stay on it."""
    cluster = Cluster(node("a", 16, unhealthy=[uuid("a", 0)]))
    cluster.show_bound("p", 4, uuid("a", 0), "a")
    (bar,) = carded(cluster).bars
    assert (bar.usable, bar.trouble, [part.label for part in bar.parts]) == (False, "unhealthy", ["default/p"])


@pytest.mark.parametrize(
    ("pod_name", "expected"),
    [
        ("chat-6c9bb54f55-x2x7k", "chat"),
        ("train-12", "train"),
        ("web-server", "web-server"),
        ("sweep-3-b7q9d", "sweep"),
        ("42", "42"),
        ("llm", "llm"),
    ],
)
def test_a_workload_is_the_name_without_what_controllers_append(pod_name: str, expected: str) -> None:
    """Deployments, StatefulSets, Jobs."""
    assert workload_of(pod_name) == expected


def test_ten_keys_have_ten_colours() -> None:
    """And a key keeps its colour when others come that do not want it."""
    keys = [f"team-{at}" for at in range(COLOURS)]
    colours = Palette(keys, by="namespace").colours
    assert sorted(colours.values()) == list(range(COLOURS))
    alone = Palette(["team-0"], by="namespace").colours["team-0"]
    assert Palette(["team-0", "unrelated-z"], by="namespace").colours["team-0"] == alone


def test_one_namespace_is_coloured_by_workload() -> None:
    """Several by namespace, unless the viewer says otherwise."""
    cluster = Cluster(node("a", 16))
    cluster.show_bound("chat-1", 4, uuid("a", 0), "a")
    tiles = list(Tiles().update(cluster.state.snapshot()).values())
    assert palette(tiles, "").colours.keys() == {"chat"}
    assert palette(tiles, "namespace").colours.keys() == {"default"}


def test_what_is_claimed_is_drawn_where_nobody_has_anything() -> None:
    """Its name and its amount are told in full."""
    cluster = Cluster(node("a", 16))
    plan = {"allocation": allocation({"main": {uuid("a", 0): 12}})}
    cluster.show(pod("low", 12, node="a", annotations=plan, deleting=True))
    status = {"phase": "Pending", "nominatedNodeName": "a"}
    cluster.show(pod("urgent", 16, priority=9, status=status))
    (bar,) = carded(cluster).bars
    assert [(part.label, part.units, part.x, part.width, part.state) for part in bar.parts] == [
        ("default/low", 12, 0, 3 * WIDTH // 4 - 1, "bound"),
        ("default/urgent", 16, 3 * WIDTH // 4, WIDTH // 4 - 1, "claimed"),
    ]
    assert (bar.used, bar.free) == (12, 0)
    made = Tiles().update(cluster.state.snapshot())["a"]
    assert (made.capacity, made.allocated, made.held, made.free) == (16, 12, 4, 0)
