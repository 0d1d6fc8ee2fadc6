"""Waits double up to a cap, and half of each is drawn."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_plugin.backoff import Backoff


def test_waits_double_up_to_the_cap() -> None:
    """With the longest draw of each."""
    backoff = Backoff(first_s=1.0, last_s=5.0)
    assert [backoff.delay_s(failures, 1.0) for failures in range(1, 6)] == [1.0, 2.0, 4.0, 5.0, 5.0]


@given(st.integers(min_value=1, max_value=10**9), st.floats(min_value=0, max_value=1, exclude_max=True))
def test_no_wait_is_a_hot_loop_or_beyond_the_cap(failures: int, draw: float) -> None:
    """However long the failures go on."""
    assert 0.5 <= Backoff(first_s=1.0, last_s=30.0).delay_s(failures, draw) <= 30.0


def test_bounds_that_make_no_sense_are_refused() -> None:
    """The first wait is the shortest."""
    with pytest.raises(ValueError, match="expected 0 < first_s <= last_s"):
        Backoff(first_s=2.0, last_s=1.0)
