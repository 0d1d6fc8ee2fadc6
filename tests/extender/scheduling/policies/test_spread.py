"""Spread gives each pod the GPU on which the smallest share will be in use."""

from hypothesis import given, settings
from hypothesis import strategies as st

from extender.scheduling.fitting import Fit, fit
from extender.scheduling.node import NodeInfo
from tests.extender.scheduling.builders import SPREAD, fitted, holder, node, on, shares
from tests.extender.scheduling.strategies import nodes


@settings(max_examples=80, deadline=None)
@given(nodes(), st.integers(1, 8))
def test_never_picks_a_fuller_share_when_an_emptier_one_fits(place: NodeInfo, units: int) -> None:
    """The share in use once the pod is there, so that GPUs of different sizes compare."""
    answer = fit(place, shares(units), SPREAD)
    if isinstance(answer, Fit):
        (at,) = answer.chosen[0]
        taken = {
            at: (each.capacity - free + units) / each.capacity
            for at, (free, each) in enumerate(zip(place.free, place.gpus, strict=True))
            if free >= units
        }
        assert all(taken[at] <= share + 1e-9 for share in taken.values())


def test_containers_of_one_pod_spread() -> None:
    """The second demand sees what the first took."""
    assert fitted(node(16, 16), shares(4, 4), SPREAD).chosen == ((0,), (1,))


def test_small_gpus_get_their_part() -> None:
    """Four more make 16 of 32 in use on the large GPU, and less than half of the empty small one."""
    place = node(32, 10, holders=[holder("a", on({0: 12}))])
    assert fitted(place, shares(4), SPREAD).chosen == ((1,),)


def test_small_gpus_get_no_more_than_their_part() -> None:
    """Four more make a quarter of the large GPU, though it is in use, and half of the empty small one."""
    place = node(32, 8, holders=[holder("a", on({0: 4}))])
    assert fitted(place, shares(4), SPREAD).chosen == ((0,),)


def test_node_costs() -> None:
    """Largest share in use on a GPU touched, then share of the node in use."""
    assert fitted(node(16, 16, holders=[holder("a", on({0: 8}))]), shares(4), SPREAD).cost == (0.25, 12 / 32)
