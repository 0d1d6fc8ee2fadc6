"""Waits grow with failures, within bounds, and spread over their whole span."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.kube.retries import Backoff

DRAWS = st.floats(min_value=0, max_value=1, exclude_max=True)


@pytest.mark.parametrize(("failures", "expected"), [(1, 1.6), (2, 3.2), (3, 6.4), (5, 25.6), (6, 30.0), (10**6, 30.0)])
def test_the_ceiling_doubles_up_to_the_cap(failures: int, expected: float) -> None:
    """Drawn at its top, a wait is the ceiling."""
    assert Backoff().delay_s(failures, 1.0) == pytest.approx(expected)


@given(st.integers(min_value=0, max_value=10**9), DRAWS)
def test_no_wait_leaves_the_bounds(failures: int, draw: float) -> None:
    """Never a hot loop, never longer than the cap, even after years of failures."""
    assert 0.8 <= Backoff().delay_s(failures, draw) <= 30.0


@given(st.integers(min_value=1, max_value=100), DRAWS)
def test_more_failures_never_wait_less(failures: int, draw: float) -> None:
    """For the same draw."""
    assert Backoff().delay_s(failures, draw) <= Backoff().delay_s(failures + 1, draw)


@pytest.mark.parametrize(("first_s", "last_s"), [(0.0, 30.0), (-1.0, 30.0), (31.0, 30.0)])
def test_bounds_are_checked(first_s: float, last_s: float) -> None:
    """A first wait of nothing would be a hot loop."""
    with pytest.raises(ValueError, match="expected 0 < first_s <= last_s"):
        Backoff(first_s, last_s)
