"""Each run is compared with the same load on one server alone, and with nothing else."""

from bench.gpu_day.sharing import sharing, sharing_table
from bench.gpu_day.stages.loads import Served, ServerLoad
from bench.latency.percentiles import Delays


def served(mode: str, load: ServerLoad, tokens_per_s: float, p99_s: float) -> Served:
    """A run of ten requests."""
    return Served(mode, load, None, 10, 10.0, tokens_per_s, Delays(10, p99_s, p99_s, p99_s), p99_s)


ALONE = served("time-sliced", ServerLoad(1, "launch"), 100.0, 0.02)
STEADY = served("time-sliced", ServerLoad(1, "launch", is_steady=True), 30.0, 0.03)


def test_throughput_and_p99_are_multiples_of_one_server_alone() -> None:
    """Also in another mode."""
    runs = [
        ALONE,
        served("time-sliced", ServerLoad(4, "launch"), 110.0, 0.08),
        served("mps", ServerLoad(4, "launch"), 300.0, 0.03),
    ]
    found = [(row.servers, row.mode, row.times_alone, round(row.p99_times_alone, 6)) for row in sharing(runs)]
    assert found == [(1, "time-sliced", 1.0, 1.0), (4, "time-sliced", 1.1, 4.0), (4, "mps", 3.0, 1.5)]


def test_the_base_is_time_sliced() -> None:
    """A server alone under MPS is compared with it too."""
    found = sharing([ALONE, served("mps", ServerLoad(1, "launch"), 90.0, 0.02)])
    assert [row.times_alone for row in found] == [1.0, 0.9]


def test_each_load_has_its_own_base() -> None:
    """A server beside a neighbour is compared with itself without one, at the same rate."""
    beside = served("mps", ServerLoad(1, "launch", is_steady=True, has_neighbour=True), 30.0, 0.06)
    (*_, row) = sharing([ALONE, STEADY, beside])
    assert (row.load, row.times_alone, row.p99_times_alone) == ("steady, beside a full GPU", 1.0, 2.0)


def test_what_has_no_base_or_failed_is_left_out() -> None:
    """No figure is made up for it."""
    failed = Served("mps", ServerLoad(2, "launch"), error="no answer")
    silent = Served("mps", ServerLoad(2, "launch", is_steady=True))
    assert sharing([served("mps", ServerLoad(2, "gpu"), 1.0, 1.0), failed, silent]) == ()


def test_rows_of_one_load_stand_together() -> None:
    """By their number of servers, in the order of the runs."""
    runs = [
        ALONE,
        STEADY,
        served("time-sliced", ServerLoad(2, "launch"), 1.0, 1.0),
        served("mps", ServerLoad(1, "launch"), 1.0, 1.0),
    ]
    found = [(row.load, row.servers, row.mode) for row in sharing(runs)]
    assert found == [
        ("launch", 1, "time-sliced"),
        ("launch", 1, "mps"),
        ("launch", 2, "time-sliced"),
        ("steady", 1, "time-sliced"),
    ]


def test_the_table_is_markdown() -> None:
    """For the documentation."""
    assert (
        sharing_table(sharing([ALONE])).splitlines()[2]
        == "| launch | 1 | time-sliced | 100 | 1.00 | 20.0 | 1.00 | 10 |"
    )
