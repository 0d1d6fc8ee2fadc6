"""The figure of a replay: it shows every policy, is the same for the same figures, and interpolates honestly."""

from xml.etree import ElementTree as ET

import pytest

from bench.replay.deciding.learning import parse_contender
from bench.replay.drawing import draw, mean_curve
from bench.replay.protocols.arriving import Arriving
from bench.replay.protocols.departing import Departing
from bench.replay.results import Result, summary
from tests.bench.replay.traces import ignore, setting

POLICIES = ("price-fit-robust", "fgd", "best-fit")


@pytest.fixture(scope="module")
def arrived() -> list[Result]:
    """Two seeds of three policies."""
    return [Arriving().replay(setting(), parse_contender(name), seed, ignore) for name in POLICIES for seed in (1, 2)]


def texts(svg: str) -> list[str]:
    """What a reader can read in the figure."""
    return [element.text or "" for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314 (made here)


def test_every_policy_is_in_both_panels(arrived: list[Result]) -> None:
    """In the legend of the curves and beside its row of GPUs."""
    shown = texts(draw(summary(arrived, trace={}, command=""), arrived, caption="two seeds"))
    assert {name: shown.count(name) for name in POLICIES} == dict.fromkeys(POLICIES, 2)
    assert {"GPU demand allocated", "GPUs on nodes in use", "two seeds", "85 % demand"} <= set(shown)


def test_the_same_figures_give_the_same_bytes(arrived: list[Result]) -> None:
    """No time, no chance: a figure in a repository changes when its figures do."""
    told = summary(arrived, trace={}, command="")
    assert draw(told, arrived, caption="c") == draw(told, arrived, caption="c")


def test_the_bound_is_marked_where_it_is_known(arrived: list[Result]) -> None:
    """And named."""
    told = summary(arrived, trace={}, command="") | {"bound": {"mean": {"allocation_percent": {"100": 98.0}}}}
    assert "LP bound" in texts(draw(told, arrived, caption=""))


def test_departures_show_what_is_rejected() -> None:
    """A bar per policy."""
    results = [Departing(1.2).replay(setting(), parse_contender(name), 1, ignore) for name in POLICIES]
    shown = texts(draw(summary(results, trace={}, command=""), results, caption=""))
    assert "GPU demand rejected" in shown
    assert set(POLICIES) <= set(shown)


def test_the_mean_of_curves_reaches_as_far_as_all_of_them() -> None:
    """Between two points it is a straight line."""
    short, long = [(0.0, 0.0), (90.0, 90.0)], [(0.0, 0.0), (80.0, 80.0), (100.0, 82.0)]
    mean = dict(mean_curve([short, long]))
    assert (mean[80.0], max(mean)) == (80.0, 90.0)
    assert mean[90.0] == pytest.approx((90 + 81) / 2)
