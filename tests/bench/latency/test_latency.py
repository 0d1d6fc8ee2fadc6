"""The benchmark of latency measures what it says, on a cluster of a few nodes."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.latency import cases, estimates
from bench.latency.churning import measure_churn
from bench.latency.command import command, draw
from bench.latency.estimates import measure_learning
from bench.latency.percentiles import Histogram, delays, figures, percentile
from bench.latency.world import Size

ROW = {"calls": 1, "p10_ms": 0.9, "p50_ms": 1.0, "p90_ms": 2.0, "p99_ms": 3.0, "cpu_ms": 0.5, "bytes_out": 10}


def test_percentiles_are_of_the_nearest_rank() -> None:
    """Of sorted values; of none there is none."""
    assert [percentile([1.0, 2.0, 3.0, 4.0], share) for share in (0.0, 0.5, 0.99)] == [1.0, 3.0, 4.0]
    row = figures([0.003, 0.001, 0.002], 0.006, 30)
    assert (row.p50_ms, row.cpu_ms, row.bytes_out) == (2.0, 2.0, 10)
    with pytest.raises(ValueError, match="percentile of no values"):
        percentile([], 0.5)


def test_delays_are_summed_up() -> None:
    """Nearest rank, in any order."""
    found = delays([0.3, 0.1, 0.2])
    assert (found.count, found.p50_s, found.p99_s, found.max_s) == (3, 0.2, 0.3, 0.3)


def test_a_histogram_has_the_percentiles_of_what_it_counted() -> None:
    """To the microsecond; what takes longer than it counts is not left out."""
    seconds = [number * 1e-6 for number in range(300, 0, -1)]
    counted = Histogram()
    for value in (9.0, *seconds):
        counted.add(value)
    shares = (0.0, 0.5, 0.99)
    expected = [round(1000 * percentile(sorted((0.1, *seconds)), share), 3) for share in shares]
    assert [counted.percentile_ms(share) for share in shares] == expected
    assert counted.percentile_ms(1.0) == 100.0
    counted.clear()
    with pytest.raises(ValueError, match="percentile of no values"):
        counted.percentile_ms(0.5)


def test_calls_are_measured_beside_the_floor(tmp_path: Path) -> None:
    """The JSON has each verb, the floor, the ratio and the memory; limits that are not kept fail the run."""
    out = tmp_path / "report.json"
    arguments = ["--nodes", "12", "--cycles", "80", "--json", str(out), "--max-ratio", "0.001"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 1, result.output
    assert "times the floor's, expected at most 0.001" in result.output
    report = json.loads(out.read_text())
    for verb in ("filter", "prioritize", "bind", "floor"):
        assert {"p50_ms", "p90_ms", "p99_ms", "cpu_ms"} <= report[verb].keys()
    assert (report["nodes"], report["filter"]["calls"], report["bind"]["calls"]) == (12, 80, 80)
    assert report["ratio"] > 0
    assert report["rss_mib"] > 20


def test_a_start_is_measured() -> None:
    """CPU, the time that it was blind, and memory, its highest included."""
    report = cases.measure_start(Size(10, per_node=3, pod_bytes=4000), [])
    assert (report["pods"], report["peak_rss_mib"] >= report["rss_mib"]) == (30, True)
    assert 0 < report["cpu_s"] < report["ready_s"] + 10


def test_binds_at_once_are_all_written() -> None:
    """Each on a connection of its own, with filter calls beside them."""
    report = cases.measure_binds(Size(10), [], binds=40)
    assert (report["errors"], report["bind"]["calls"]) == (0, 40)


def test_watch_events_are_measured() -> None:
    """All that were sent are taken in."""
    report = cases.measure_events(Size(40), [], count=400, rate=4000)
    assert (report["events"], report["cpu_us"] > 0) == (400, True)


def test_estimates_are_measured_apart_from_the_pods_that_bring_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many calls with an estimate as without; it raises when one comes that was not due."""
    monkeypatch.setattr(estimates, "_ROUNDS", 2)
    report = measure_learning(Size(10), [])
    assert report["calls"] >= 2 * 250
    assert [len(report[kind]["slowest_ms"]) for kind in ("beside", "quiet")] == [2, 2]
    assert report["delay_ms"] == pytest.approx(sum(report["delays_ms"]) / 2, abs=0.01)


def test_churn_leaves_nothing_behind() -> None:
    """The benchmark itself checks the ledger at the end."""
    report = measure_churn(Size(3), lives=1500, policy="")
    assert (report["lives"], len(report["parts"])) == (1500, 10)


def test_growth_is_drawn() -> None:
    """The same figures give the same bytes."""
    rows = {"100": ROW, "5000": {**ROW, "p50_ms": 1.5}}
    report: dict[str, Any] = {
        "growth": {"names": 100, "filter": rows, "filter_all_names": rows, "floor_all_names": rows}
    }
    assert draw(report) == draw(report)
    assert "filter, all names, p50" in draw(report)


def test_another_extender_needs_a_kubeconfig() -> None:
    """It has to watch the same API server."""
    result = CliRunner().invoke(command, ["--against", "http://127.0.0.1:1"])
    assert (result.exit_code, "--against needs --kubeconfig" in result.output) == (2, True)
