"""Advice names sizes that waste GPUs, and promises no more than the bound says."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import main
from extender.capacity.sizes import advise, applied, gpus_needed


def test_what_the_demand_needs_is_the_cutting_stock_bound() -> None:
    """Two of 500, one of 600 with its waste."""
    assert gpus_needed({500: 10.0, 600: 4.0}, 1000) == pytest.approx(9.0)
    assert gpus_needed({1000: 3.0}, 1000) == pytest.approx(3.0)


def test_a_size_just_above_a_half_had_better_be_a_half() -> None:
    """510 twice needs two GPUs, 500 twice one; 250 had room beside 510."""
    advice = advise({510: 100.0, 250: 4.0}, 1000)
    assert [(one.size, one.smaller) for one in advice] == [(510, 500), (250, None)]
    assert advice[0].gpus_saved == pytest.approx(49.0)
    assert advice[0].gpus_asked_less == pytest.approx(1.0)


def test_a_cut_that_saves_no_more_than_it_takes_away_is_no_advice() -> None:
    """Halves are fine as they are, and whole GPUs are none of its business."""
    assert [one.smaller for one in advise({500: 10.0, 1000: 5.0}, 1000)] == [None]


def test_all_advice_together_is_counted_once() -> None:
    """The others stay as they are."""
    demand = {510: 100.0, 250: 4.0}
    after = applied(demand, advise(demand, 1000))
    assert after == {500: 100.0, 250: 4.0}
    assert gpus_needed(after, 1000) == pytest.approx(51.0)


def test_the_command_reads_a_trace(tmp_path: Path) -> None:
    """And writes JSON."""
    assert CliRunner().invoke(main, ["trace", "--out", str(tmp_path)]).exit_code == 0
    words = ["advice", "--pods", str(tmp_path / "pods.csv"), "--json", str(tmp_path / "advice.json")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    told = json.loads((tmp_path / "advice.json").read_text())
    assert told["asked_gpus"] <= told["needed_gpus"]
    assert told["needed_gpus_after"] <= told["needed_gpus"]


def test_a_file_that_is_no_trace_is_refused(tmp_path: Path) -> None:
    """By its name."""
    (tmp_path / "x.csv").write_text("a,b\n")
    result = CliRunner().invoke(main, ["advice", "--pods", str(tmp_path / "x.csv")])
    assert (result.exit_code, "x.csv: no pods, expected a pod list" in result.output) == (2, True)


def test_no_size_is_cut_by_more_than_the_reach() -> None:
    """From 510 to 500 is a fiftieth."""
    assert [one.smaller for one in advise({510: 100.0}, 1000, reach=0.01)] == [None]
    assert [one.smaller for one in advise({510: 100.0}, 1000, reach=0.02)] == [500]
    assert [one.smaller for one in advise({600: 100.0}, 1000, reach=0.1)] == [None]
