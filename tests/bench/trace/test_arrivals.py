"""Arrivals follow FGD's protocol and repeat themselves."""

from collections import Counter
from random import Random

from bench.trace.arrivals import arrivals
from bench.trace.reading import TracePod
from bench.trace.synthetic import synthetic_pods

PODS = synthetic_pods(100, Random(1))
DEMAND = sum(pod.demand_milli for pod in PODS)
LARGEST = max(pod.demand_milli for pod in PODS)


def test_the_same_seed_gives_the_same_arrivals() -> None:
    """And another one others."""
    assert arrivals(PODS, capacity_milli=DEMAND, seed=1) == arrivals(PODS, capacity_milli=DEMAND, seed=1)
    assert arrivals(PODS, capacity_milli=DEMAND, seed=1) != arrivals(PODS, capacity_milli=DEMAND, seed=2)


def test_the_list_comes_first_and_clones_after_it_up_to_the_inflated_demand() -> None:
    """One more pod would have passed it."""
    order = arrivals(PODS, capacity_milli=DEMAND, seed=1)
    assert Counter(order[: len(PODS)]) == Counter(PODS)
    assert 1.3 * DEMAND - LARGEST <= sum(pod.demand_milli for pod in order) <= 1.3 * DEMAND


def test_a_list_that_is_too_long_loses_pods_at_random() -> None:
    """Down to the inflated demand."""
    order = arrivals(PODS, capacity_milli=DEMAND // 2, seed=1)
    assert sum(pod.demand_milli for pod in order) <= 0.65 * DEMAND
    assert not Counter(order[: len(PODS) // 3]) - Counter(PODS)


def test_the_list_as_it_is() -> None:
    """Neither shuffled nor inflated."""
    assert arrivals(PODS, capacity_milli=DEMAND, seed=1, shuffled=False, inflate=None) == PODS


def test_a_list_without_gpu_demand_is_not_inflated() -> None:
    """Clones would never end."""
    pods = [TracePod("a", 1000, 1024, 0, 0)]
    assert arrivals(pods, capacity_milli=1000, seed=1) == pods
