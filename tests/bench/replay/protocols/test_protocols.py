"""The three ways to replay: their accounts agree with themselves and with what the trace holds."""

from dataclasses import replace

import pytest

from bench.replay.deciding.learning import parse_contender
from bench.replay.deciding.mapping import mapping_named
from bench.replay.deciding.run import InvariantError, Run
from bench.replay.protocols.arriving import Arriving
from bench.replay.protocols.departing import Departing
from bench.replay.protocols.timed import Timed
from bench.trace.reading import TraceError
from tests.bench.replay.traces import ignore, setting


def test_everything_fits_at_first_and_the_cluster_is_full_at_last() -> None:
    """Allocation follows arrivals until pods are rejected."""
    result = Arriving().replay(setting(nodes=60, pods=300), parse_contender("price-fit-robust@list"), 1, ignore)
    marks = list(result.allocation_percent.values())
    assert list(result.allocation_percent) == [80, 90, 100, 110, 120, 130]
    assert marks == sorted(marks)
    assert 75 < marks[0] <= marks[-1] <= 100
    assert result.usage[30]["served_percent"] == 100.0
    assert 0 < result.rejected_percent < 40


def test_a_replay_repeats_itself_bit_for_bit() -> None:
    """All but the time that it took."""
    first, second = (Arriving().replay(setting(), parse_contender("price-fit-robust"), 3, ignore) for _ in range(2))
    assert replace(first, cpu_s=0.0) == replace(second, cpu_s=0.0)


def test_gpus_in_use_and_dollars_are_those_of_nodes_with_pods() -> None:
    """Every GPU costs 2 dollars."""
    usage = Arriving().replay(setting(), parse_contender("best-fit"), 1, ignore).usage[60]
    assert usage["usd_per_hour"] == 2.0 * (usage["gpus_in_use"] or 0)


def test_exclusive_pods_hold_whole_gpus_but_count_what_they_asked_for() -> None:
    """So the cluster is full long before its GPUs are."""
    shared = Arriving().replay(setting(), parse_contender("best-fit"), 1, ignore)
    whole = Arriving().replay(setting(), parse_contender("exclusive"), 1, ignore)
    assert whole.allocation_percent[130] < shared.allocation_percent[130] - 10


def test_in_the_steady_state_nothing_is_rejected_at_a_low_load() -> None:
    """And something is beyond capacity."""
    trace = setting(nodes=60, pods=400)
    low = Departing(0.3).replay(trace, parse_contender("best-fit"), 1, ignore)
    high = Departing(1.5).replay(trace, parse_contender("best-fit"), 1, ignore)
    assert (low.rejected_percent, high.rejected_percent > 20) == (0.0, True)
    assert 20 < low.counts["mean_allocation_percent"] < 40


def test_the_steady_state_is_measured_when_the_cluster_has_filled() -> None:
    """It starts empty; in the measured part what runs is what the load asks for."""
    trace = setting(nodes=60, pods=400)
    cold = Departing(0.5, warm=0.01, measured=0.2).replay(trace, parse_contender("best-fit"), 1, ignore)
    warm = Departing(0.5).replay(trace, parse_contender("best-fit"), 1, ignore)
    assert cold.counts["mean_allocation_percent"] < 15
    assert 40 < warm.counts["mean_allocation_percent"] < 60


def test_the_traces_own_times_run_on_a_cluster_of_the_peaks_size() -> None:
    """A pod that was placed leaves when it did."""
    result = Timed().replay(setting(pods=60), parse_contender("best-fit"), 1, ignore)
    assert result.counts["arrived_pods"] == 60
    assert result.counts["peak_gpus"] <= result.counts["gpus"] < result.counts["peak_gpus"] + 8
    assert result.usage[100]["served_percent"] is not None


def test_a_list_without_times_cannot_be_timed() -> None:
    """The error says what is missing."""
    bare = setting(pods=3)
    bare = replace(bare, pods=tuple(replace(pod, created_s=None) for pod in bare.pods))
    with pytest.raises(TraceError, match="creation_time"):
        Timed().replay(bare, parse_contender("best-fit"), 1, ignore)


def test_a_list_without_gpu_demand_has_no_load() -> None:
    """The error says so."""
    bare = setting(pods=3)
    bare = replace(bare, pods=tuple(replace(pod, gpus=0, gpu_milli=0) for pod in bare.pods))
    with pytest.raises(TraceError, match="asks for a GPU"):
        Departing(0.5).replay(bare, parse_contender("best-fit"), 1, ignore)


def test_a_broken_account_is_found() -> None:
    """The checks can fail."""
    trace = setting(pods=10)
    run = Run(parse_contender("best-fit"), trace.nodes, trace.pods, mapping_named("relative"), 1)
    run.arrive("a", trace.pods[0])
    run.check()
    run.placed_milli += 1
    with pytest.raises(InvariantError, match="are counted"):
        run.check()
    run.cluster.remove("a")
    with pytest.raises(InvariantError, match="0 pods are charged, 1 are placed"):
        run.check()


def test_learned_policies_pack_better_than_best_fit_and_exclusive() -> None:
    """A ratio that a change for the worse would break; the seeds are fixed."""
    trace = setting(nodes=60, pods=400)

    def mean(name: str) -> float:
        results = [Arriving().replay(trace, parse_contender(name), seed, ignore) for seed in (1, 2, 3)]
        return sum(result.allocation_percent[100] for result in results) / len(results)

    robust, fgd, best_fit, exclusive = map(mean, ("price-fit-robust", "fgd", "best-fit", "exclusive"))
    assert robust > fgd + 0.3
    assert robust > best_fit + 1.0
    assert best_fit > exclusive + 15
