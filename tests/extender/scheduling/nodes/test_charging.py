"""A pod of unknown place is said to be on the GPUs that the node's account charges it to."""

from hypothesis import given
from hypothesis import strategies as st

from extender.scheduling.nodes.charging import charged_gpus
from tests.extender.scheduling.builders import UNIT_MIB, holder, node, on, shares, used, uuid, wholes


def test_it_is_the_emptiest_gpu() -> None:
    """And as many of them as the pod asks for."""
    known = holder("known", on({0: 4}))
    one = node(16, 16, holders=[known, holder("lost", None, shares(8))])
    assert charged_gpus(one, "lost", UNIT_MIB) == (uuid(1),)
    two = node(16, 16, 16, holders=[known, holder("lost", None, shares(8, count=2))])
    assert charged_gpus(two, "lost", UNIT_MIB) == (uuid(1), uuid(2))
    whole = node(16, 16, holders=[known, holder("lost", None, wholes(1))])
    assert charged_gpus(whole, "lost", UNIT_MIB) == (uuid(1),)


def test_a_pod_that_is_not_there_or_a_node_without_gpus_is_charged_nowhere() -> None:
    """As of a node whose inventory was not read yet."""
    assert charged_gpus(node(16), "gone", UNIT_MIB) == ()
    assert charged_gpus(node(holders=[holder("lost", None, shares(8))]), "lost", UNIT_MIB) == ()


@given(st.lists(st.integers(1, 9), max_size=4), st.integers(1, 9))
def test_of_these_gpus_and_of_no_others_more_is_used(others: list[int], units: int) -> None:
    """Whatever else is of unknown place."""
    known = [holder(f"p{at}", None, shares(amount)) for at, amount in enumerate(others)]
    without, place = node(16, 16, holders=known), node(16, 16, holders=[*known, holder("lost", None, shares(units))])
    before, after = used(without), used(place)
    assert set(charged_gpus(place, "lost", UNIT_MIB)) == {each for each in after if after[each] > before[each]} != set()
