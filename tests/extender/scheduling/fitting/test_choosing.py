"""The GPUs of each demand: the policy's choice where it leads somewhere, any other where it does not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extender.scheduling.fitting.choosing import Room, choose
from extender.scheduling.fitting.fitting import Fit, fit
from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.request import Demand, PodRequest, pod_request
from extender.scheduling.policies.policy import Policy
from tests.extender.scheduling.builders import BINPACK, SPREAD, app, fitted, holder, node, on, shares, wholes
from tests.extender.scheduling.placements import has_placement, is_placement
from tests.extender.scheduling.strategies import POLICY, nodes, requests


@settings(max_examples=200, deadline=None)
@given(nodes(), requests(largest=6), POLICY)
def test_completeness(place: NodeInfo, request: PodRequest, policy: Policy) -> None:
    """A pod fits exactly when brute force over all assignments finds a placement; and then the choice is one."""
    answer = fit(place, request, policy)
    assert isinstance(answer, Fit) == has_placement(place, request)
    if isinstance(answer, Fit):
        assert is_placement(place, request, answer.chosen)


@st.composite
def planted(draw: st.DrawFn) -> tuple[NodeInfo, PodRequest]:
    """A node whose GPUs are filled to the last unit by a pod of several containers: few placements, often one."""
    parts = draw(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=3), min_size=2, max_size=4))
    slack = draw(st.lists(st.integers(0, 1), min_size=len(parts), max_size=len(parts)))
    amounts = draw(st.permutations([units for part in parts for units in part]))
    return node(*(sum(part) + more for part, more in zip(parts, slack, strict=True))), shares(*amounts)


@settings(max_examples=120, deadline=None)
@given(planted(), POLICY)
def test_a_placement_that_exists_is_found(puzzle: tuple[NodeInfo, PodRequest], policy: Policy) -> None:
    """However unlucky the policy's first choice was."""
    place, request = puzzle
    assert is_placement(place, request, fitted(place, request, policy).chosen)


def test_the_greedy_choice_is_not_the_last_word() -> None:
    """Best fit puts 5 on the GPU of 5 and then 4 + 3 + 3 do not fit on the other; 5 + 3 and 4 + 3 would."""
    place = node(9, 8, holders=[holder("a", on({0: 1})), holder("b", on({1: 1}))])
    chosen = choose(place, shares(5, 4, 3, 3).demands, BINPACK, Room(place.free, place.idle))
    assert chosen is not None
    assert is_placement(place, shares(5, 4, 3, 3), chosen)


def test_whole_gpus_are_chosen_first() -> None:
    """The share must not take the only idle GPU."""
    place = node(16, 16, holders=[holder("a", on({0: 1}))])
    request = pod_request((app(8, name="a"), app(gpus=1, name="b")))
    for policy in (BINPACK, SPREAD):
        assert choose(place, request.demands, policy, Room(place.free, place.idle)) == ((0,), (1,))


def test_several_gpus_are_different_ones_in_order() -> None:
    """By position, so that equal choices look equal."""
    place = node(16, 16, 16, holders=[holder("a", on({2: 4})), holder("b", on({0: 8}))])
    assert choose(place, shares(8, count=2).demands, BINPACK, Room(place.free, place.idle)) == ((0, 2),)


def test_ties_go_to_the_first_gpu() -> None:
    """The same inputs give the same answer."""
    place = node(16, 16, 16)
    assert choose(place, shares(4).demands, SPREAD, Room(place.free, place.idle)) == ((0,),)


@pytest.mark.parametrize("count", [16, 63, 64])
def test_absurd_pods_are_refused_in_bounded_time(count: int) -> None:
    """Neither the depth of the recursion nor the number of ways makes the scheduler wait."""
    place = node(*[count - 1] * 16)
    demands = tuple(Demand(1, 16) for _ in range(count))
    assert choose(place, demands, BINPACK, Room(place.free, place.idle)) is None
    odd = tuple(Demand(units, 1) for units in (41, 42, 43, 41, 42, 43, 41, 42, 43, *range(1, count - 8)))
    assert choose(node(*range(73, 81)), odd, BINPACK, Room(tuple(range(73, 81)), (False,) * 8)) is None


def test_a_room_knows_what_is_left() -> None:
    """A GPU held whole has no units left, one that is shared is not idle any more."""
    room = Room((16, 16), (True, True))
    assert room.without(Demand(0, 1), [0]) == Room((0, 16), (False, True))
    assert room.without(Demand(4, 2), [0, 1]) == Room((12, 12), (False, False))
    assert (room.fits(Demand(17, 1), 0), room.fits(Demand(16, 1), 0), room.fits(Demand(0, 1), 1)) == (False, True, True)


def test_more_gpus_than_any_node_has() -> None:
    """A million of them."""
    assert choose(node(16), wholes(1 << 20).demands, BINPACK, Room((16,), (True,))) is None
    assert choose(node(16), shares(1 << 20, 4, count=1).demands, BINPACK, Room((16,), (True,))) is None


def test_the_largest_demand_chooses_first() -> None:
    """Of 5 and 4 units the larger gets the tight GPU, whatever the order of the containers; whole GPUs come first."""
    place = node(16, 16, holders=[holder("a", on({0: 11}))])
    assert fitted(place, shares(4, 5)).chosen == ((1,), (0,))
    assert fitted(place, shares(5, 4)).chosen == ((0,), (1,))
    mixed = pod_request((app(4, name="share"), app(gpus=1, name="whole")))
    assert fitted(node(16, 16), mixed).chosen == ((1,), (0,))
