"""Prices of share sizes are duals of the cutting-stock problem, and holes are worth what can be put into them."""

from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.optimize import linprog

from extender.scheduling.learning.pricing import MOST_SIZES, best_pattern, hole_values, size_prices

DEMANDS = st.dictionaries(st.integers(1, 60), st.integers(1, 50).map(float), min_size=1, max_size=8)


def test_a_size_that_wastes_the_rest_costs_a_whole_gpu() -> None:
    """810 of 1000 leaves 190, which nobody can use when the smallest other size is 470."""
    prices = size_prices({810: 10.0, 470: 20.0}, 1000)
    assert prices == pytest.approx({810: 1000.0, 470: 500.0})


def test_a_size_that_always_finds_room_costs_nothing() -> None:
    """Few shares of 160 fit beside the many of 810."""
    prices = size_prices({810: 100.0, 160: 5.0}, 1000)
    assert prices == pytest.approx({810: 1000.0, 160: 0.0})


def test_thirds_and_halves() -> None:
    """Three of 320 fill a GPU, two of 470 do."""
    assert size_prices({320: 30.0}, 1000) == pytest.approx({320: 1000 / 3})
    assert size_prices({470: 30.0}, 1000) == pytest.approx({470: 500.0})


def test_sizes_that_do_not_fit_do_not_count() -> None:
    """A cluster may have smaller GPUs than some pods ask for."""
    assert size_prices({20: 3.0, 8: 2.0}, 16) == pytest.approx({8: 8.0})


def test_without_demand_a_hole_is_worth_its_size() -> None:
    """Nothing is known, so nothing is better than anything else."""
    assert (size_prices({}, 16), hole_values({}, 4)) == ({}, (0.0, 1.0, 2.0, 3.0, 4.0))


@given(demand=DEMANDS, capacity=st.integers(1, 60))
def test_prices_are_feasible_duals(demand: dict[int, float], capacity: int) -> None:
    """No pattern that fits on a GPU costs more than the GPU, and the prices reach it."""
    prices = size_prices(demand, capacity)
    assert all(price >= -1e-6 for price in prices.values())
    if prices:
        pattern = best_pattern(list(prices), list(prices.values()), capacity)
        cost = sum(price * copies for price, copies in zip(prices.values(), pattern, strict=True))
        assert cost == pytest.approx(capacity)


@given(demand=DEMANDS, capacity=st.integers(1, 60))
def test_prices_pay_for_no_more_gpus_than_any_packing_needs(demand: dict[int, float], capacity: int) -> None:
    """Weak duality: what the demand pays is a lower bound on GPUs, next fit decreasing an upper one."""
    prices = size_prices(demand, capacity)
    paid = sum(prices[size] * count for size, count in demand.items() if size in prices) / capacity
    needed = sum(count / (capacity // size) for size, count in demand.items() if size in prices)
    assert paid <= needed + 1e-6


@given(demand=DEMANDS, capacity=st.integers(1, 60))
def test_larger_holes_are_worth_more(demand: dict[int, float], capacity: int) -> None:
    """The value of a hole never falls with its size, and a whole GPU is worth its capacity."""
    values = hole_values(size_prices(demand, capacity), capacity)
    assert len(values) == capacity + 1
    assert list(values) == sorted(values)
    assert (values[0], values[-1]) == (0.0, float(capacity))


def test_many_sizes_are_merged_into_larger_ones() -> None:
    """The programme stays small however many sizes there are; the largest is kept."""
    prices = size_prices({size: 1.0 + size for size in range(1, 81)}, 80)
    assert (len(prices), max(prices)) == (MOST_SIZES, 80)


@example(demand={6: 1.0, 10: 1.0, 17: 1.0}, capacity=31)
@given(demand=DEMANDS, capacity=st.integers(1, 60))
def test_prices_pay_for_as_many_gpus_as_the_relaxed_problem_needs(demand: dict[int, float], capacity: int) -> None:
    """Strong duality, against a solver that is given every pattern that a demand of few sizes has."""
    demand = dict(sorted(demand.items())[-3:])
    prices = size_prices(demand, capacity)
    sizes = list(prices)
    if sizes:
        patterns = list(_patterns(sizes, capacity))
        matrix = [[-pattern[at] for pattern in patterns] for at in range(len(sizes))]
        optimum = linprog([1.0] * len(patterns), matrix, [-demand[size] for size in sizes], method="highs")
        paid = sum(prices[size] * demand[size] for size in sizes) / capacity
        assert paid == pytest.approx(optimum.fun)


def _patterns(sizes: list[int], capacity: int) -> Iterator[tuple[int, ...]]:
    if not sizes:
        yield ()
        return
    for copies in range(capacity // sizes[0] + 1):
        for rest in _patterns(sizes[1:], capacity - copies * sizes[0]):
            yield (copies, *rest)
