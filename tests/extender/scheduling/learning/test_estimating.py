"""Weights are estimated from the pods seen, alike on every replica, with bounded memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.scheduling.learning import estimating
from extender.scheduling.learning.estimating import DemandCounter, differs, estimate, typical_pods
from extender.scheduling.nodes.shape import NodeShape
from extender.scheduling.pods.request import PodRequest, pod_request
from tests.extender.scheduling.builders import app
from tests.extender.scheduling.strategies import requests

SHAPE = NodeShape((("T4", 16),) * 4, 64, 256)


def _pod(units: int, cpu_milli: int = 1000) -> PodRequest:
    return pod_request((app(units),), cpu_milli=cpu_milli)


def test_older_pods_count_less() -> None:
    """After half a life of others, a pod counts half."""
    counter = DemandCounter(half_life_pods=4)
    counter.observe(_pod(1))
    for _ in range(4):
        counter.observe(_pod(2))
    assert counter.counts()[_pod(1)] == pytest.approx(0.5)


def test_estimates_are_due_early_and_then_every_200_pods() -> None:
    """Small clusters learn, too."""
    counter = DemandCounter()
    due = [number for number in range(1, 601) if counter.observe(_pod(1))]
    assert due == [25, 50, 100, 200, 400, 600]


def test_the_rarest_kinds_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded between two estimates."""
    monkeypatch.setattr(estimating, "MOST_KINDS", 3)
    counter = DemandCounter(half_life_pods=None)
    for number in range(25):
        counter.observe(_pod(min(16, 1 + number)))
        counter.observe(_pod(1))
    assert len(counter.counts()) <= 4
    assert counter.counts()[_pod(1)] == pytest.approx(26.0)


def test_the_policy_that_a_pod_asks_for_is_no_part_of_its_kind() -> None:
    """Only what it needs counts."""
    counter = DemandCounter(half_life_pods=None)
    counter.observe(pod_request((app(4),), policy="spread"))
    counter.observe(pod_request((app(4),)))
    assert list(counter.counts().values()) == [2.0]


@given(pods=st.lists(requests(most=2), max_size=60))
def test_the_same_history_gives_the_same_weights(pods: list[PodRequest]) -> None:
    """Two replicas that saw the same pods choose alike."""
    one, other = DemandCounter(), DemandCounter()
    for pod in pods:
        assert one.observe(pod) == other.observe(pod)
    first, second = estimate(one.counts(), {SHAPE: 3}), estimate(other.counts(), {SHAPE: 3})
    assert (first.holes, first.cpu_per_unit, first.abundance, first.typical) == (
        second.holes,
        second.cpu_per_unit,
        second.abundance,
        second.typical,
    )
    assert not differs(first, second)


def test_before_any_pod_a_hole_is_worth_its_size_and_cpu_goes_with_gpus_as_the_nodes_have_it() -> None:
    """64 cores for 64 units."""
    weights = estimate({}, {SHAPE: 3})
    assert (weights.holes[16], weights.cpu_per_unit) == (tuple(map(float, range(17))), 1000.0)
    assert (weights.reference_units, weights.largest_cpu_milli, weights.largest_units) == (16.0, 64_000, 64)


def test_cpu_per_unit_is_that_of_the_pods() -> None:
    """2 cores for 8 units; pods without GPUs do not count."""
    weights = estimate({_pod(8, 2000): 3.0, PodRequest(demands=(), cpu_milli=9000): 5.0}, {SHAPE: 1})
    assert weights.cpu_per_unit == 250.0


def test_no_nodes_is_no_reason_to_fail() -> None:
    """The first pods may come before the first nodes."""
    weights = estimate({_pod(8): 1.0}, {})
    assert (weights.holes, weights.abundance) == ({}, {})


def test_every_gpu_size_has_its_own_prices() -> None:
    """9 units waste a GPU of 16 but two of them fit into 18."""
    shapes = {SHAPE: 1, NodeShape((("L4", 18),), 8, 32): 1}
    holes = estimate({_pod(9): 10.0}, shapes).holes
    assert (holes[16][9], holes[18][9]) == pytest.approx((16.0, 9.0))


def test_typical_pods_make_up_95_percent_with_the_last_one_counted() -> None:
    """Their shares sum to 1."""
    typical = typical_pods({_pod(8): 90.0, _pod(4): 6.0, _pod(2): 4.0})
    assert [(pod.units, pod.share) for pod in typical] == [(8, 90 / 96), (4, 6 / 96)]


def test_weights_differ_when_something_has_moved() -> None:
    """Another mix of sizes is worth a new policy."""
    before = estimate({_pod(8): 50.0, _pod(5): 50.0}, {SHAPE: 1})
    assert differs(before, estimate({_pod(8): 50.0, _pod(11): 50.0}, {SHAPE: 1}))
    assert differs(before, estimate({_pod(8): 50.0, _pod(5): 50.0}, {SHAPE: 1, NodeShape((("A10", 24),)): 1}))
    assert not differs(before, estimate({_pod(8): 101.0, _pod(5): 100.0}, {SHAPE: 1}))


def test_another_shape_of_the_same_gpus_is_a_difference() -> None:
    """Its abundance is not known to the old weights."""
    demand = {_pod(8): 50.0}
    smaller = NodeShape(SHAPE.gpus, 64, 128)
    assert differs(estimate(demand, {SHAPE: 1}), estimate(demand, {smaller: 1}))


def test_an_estimate_of_many_kinds_pauses_often() -> None:
    """No call waits for thousands of kinds at once: each pass over them lets others work in between."""
    counts = {_pod(1 + kind % 16, 1000 + kind): 1.0 for kind in range(640)}
    pauses: list[None] = []
    weights = estimate(counts, {SHAPE: 10}, pause=lambda: pauses.append(None))
    assert len(pauses) >= 6 * 640 // 64
    pauses.clear()
    assert not differs(weights, weights, pause=lambda: pauses.append(None))
    assert len(pauses) >= 2 * len(weights.typical) // 64
