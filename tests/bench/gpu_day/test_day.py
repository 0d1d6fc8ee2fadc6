"""The plan is valid at birth, and a timer never gives more than is left."""

from collections.abc import Callable
from typing import Any

import pytest

from bench.gpu_day.day import DayPlan, Timer


@pytest.mark.parametrize("fields", [{"run_s": 0.0}, {"counts": ()}, {"counts": (2, 4)}, {"counts": (1, 4, 2)}])
def test_a_plan_that_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    """Runs last some time, and servers begin with one alone."""
    with pytest.raises(ValueError, match="expected"):
        DayPlan(**fields)


def at(now_s: float) -> Callable[[], float]:
    """A clock that stands."""
    return lambda: now_s


def test_a_timer_gives_what_is_left() -> None:
    """And a share of it."""
    timer = Timer(10.0, at(4.0))
    assert (timer.left_s, timer.at_most(5.0), timer.at_most(7.0)) == (6.0, 5.0, 6.0)
    assert timer.part(0.5).left_s == 3.0


def test_a_timer_that_has_run_out_gives_a_moment() -> None:
    """A wait of nothing would be none."""
    timer = Timer(10.0, at(11.0))
    assert (timer.left_s, timer.at_most(5.0), timer.part(0.5).left_s) == (0.0, 0.1, 0.0)
