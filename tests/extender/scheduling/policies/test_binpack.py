"""Binpack opens no GPU without need and leaves the smallest holes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from extender.scheduling.fitting import Fit, fit
from extender.scheduling.node import NodeInfo
from tests.extender.scheduling.builders import BINPACK, fitted, holder, node, on, shares, wholes
from tests.extender.scheduling.strategies import nodes


@settings(max_examples=80, deadline=None)
@given(nodes(), st.integers(1, 8))
def test_never_opens_a_gpu_when_one_in_use_fits(place: NodeInfo, units: int) -> None:
    """And takes the one where least is left."""
    answer = fit(place, shares(units), BINPACK)
    if isinstance(answer, Fit):
        (at,) = answer.chosen[0]
        in_use = [free for free, each in zip(place.free, place.gpus, strict=True) if free != each.capacity]
        fitting = [free for free in in_use if free >= units]
        if fitting:
            assert place.free[at] != place.gpus[at].capacity
            assert place.free[at] == min(fitting)
        else:
            assert place.free[at] == min(free for free in place.free if free >= units)


def test_a_pod_with_two_containers_opens_one_gpu() -> None:
    """The GPU that the first demand opened is in use for the second."""
    assert fitted(node(16, 16), shares(4, 4)).chosen == ((0,), (0,))


def test_node_costs() -> None:
    """GPUs opened, units left on the GPUs touched, share of the node left free."""
    fresh = node(16, 16)
    assert fitted(fresh, shares(4)).cost == (1.0, 12.0, 28 / 32)
    started = node(16, 16, holders=[holder("a", on({1: 8}))])
    assert fitted(started, shares(4)).cost == (0.0, 4.0, 20 / 32)
    assert fitted(started, wholes(1)).cost == (1.0, 0.0, 8 / 32)
