"""The day keeps its budget and what was found, whatever its stages do."""

import os
import signal
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from bench.gpu_day.children import ChildError
from bench.gpu_day.day import Day, DayPlan, DayStage, SkipError
from bench.gpu_day.results import DayResult, StageOutcome, Status, read_result
from bench.gpu_day.running import DayRecord, StopError, run_stages, stoppable
from bench.gpu_day.stages.nvml_cost import NvmlCost
from bench.gpu_day.stages.project_tests import ProjectTests
from bench.gpu_day.stages.watched import Watched
from bench.latency.percentiles import Delays
from tests.bench.gpu_day.gpus import FakeDayGpu

TESTS = ProjectTests(("a",), (), ())
COST = NvmlCost(0.1, 1, Delays(1, 0.1, 0.1, 0.1), Delays(1, 0.1, 0.1, 0.1), 0.01, "")
WATCHED = Watched((), None, False, "")


class Clock:
    """Monotonic seconds that a test moves; `stops` is a signal that comes when it is next asked."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.stops = False

    def __call__(self) -> float:
        if self.stops:
            self.stops = False
            raise StopError
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """A clock at zero."""
    return Clock()


@pytest.fixture
def record(tmp_path: Path, clock: Clock) -> DayRecord:
    """A day of 100 seconds."""
    return DayRecord(DayResult("now", False, 100.0), tmp_path / "day.json", clock)


def succeeds(_day: Day) -> Generator[object, None, None]:
    """A stage that works."""
    yield TESTS


def run(record: DayRecord, *stages: DayStage) -> None:
    """Run them on a GPU."""
    run_stages(stages, DayPlan(), FakeDayGpu(), record)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (SkipError("no MPS"), (Status.SKIPPED, "no MPS")),
        (ChildError("no answer"), (Status.FAILED, "no answer")),
        (ValueError("odd"), (Status.FAILED, "ValueError: odd")),
    ],
)
def test_a_stage_that_fails_costs_itself_only(record: DayRecord, error: Exception, outcome: tuple[Status, str]) -> None:
    """What it had found is kept, and the next one runs."""

    def fails(_day: Day) -> Generator[object, None, None]:
        yield WATCHED
        raise error

    run(record, DayStage("watched", 10, 1, fails), DayStage("tests", 10, 1, succeeds))
    stages, findings = record.result.stages, record.result.findings
    assert (stages["watched"].status, stages["watched"].why) == outcome
    assert (stages["tests"].status, findings.watched, findings.tests) == (Status.DONE, WATCHED, TESTS)


def test_the_file_has_every_step(record: DayRecord, tmp_path: Path) -> None:
    """A stage that is killed in its middle leaves what it had found, and that it ran."""

    def looks(_day: Day) -> Generator[object, None, None]:
        assert read_result(tmp_path / "day.json").stages["nvml"].status is Status.RUNNING
        yield COST
        assert read_result(tmp_path / "day.json").findings.nvml == COST

    run(record, DayStage("nvml", 10, 1, looks))
    assert read_result(tmp_path / "day.json") == record.result
    assert record.result.stages["nvml"].status is Status.DONE


def test_no_stage_is_started_that_cannot_end_in_time(record: DayRecord, clock: Clock) -> None:
    """The budget is a hard end of starts; a shorter stage after it still runs."""
    clock.now_s = 95.0
    run(record, DayStage("watched", 40, 15, succeeds), DayStage("tests", 40, 5, succeeds))
    late = StageOutcome(Status.OUT_OF_TIME, 0.0, "5 s are left, it needs 15")
    assert (record.result.stages["watched"], record.result.stages["tests"].status) == (late, Status.DONE)


@pytest.mark.parametrize(("passed_s", "most_s"), [(0.0, 30.0), (90.0, 10.0)])
def test_a_stage_has_its_limit_or_what_is_left(record: DayRecord, clock: Clock, passed_s: float, most_s: float) -> None:
    """Whichever is less."""
    given = []

    def looks(day: Day) -> Generator[object, None, None]:
        given.append(day.timer.left_s)
        yield TESTS

    clock.now_s = passed_s
    run(record, DayStage("tests", 30, 1, looks))
    assert given[0] == pytest.approx(most_s, abs=0.5)


@pytest.mark.parametrize(
    ("left_s", "why"), [(14.99, "14.9 s are left, it needs 15"), (-3.0, "0 s are left, it needs 15")]
)
def test_what_is_left_is_rounded_down(record: DayRecord, clock: Clock, left_s: float, why: str) -> None:
    """So that it never reads as enough."""
    clock.now_s = 100.0 - left_s
    run(record, DayStage("watched", 40, 15, succeeds))
    assert record.result.stages["watched"].why == why


def test_a_file_that_cannot_be_written_is_told_once_and_costs_nothing_else(tmp_path: Path, clock: Clock) -> None:
    """The stages go on; once there is room again, the file has everything."""
    told: list[str] = []
    folder = tmp_path / "folder"
    folder.mkdir()
    record = DayRecord(DayResult("now", False, 100.0), folder / "day.json", clock, told.append)
    record.begin()
    (folder / "day.json").unlink()
    folder.rmdir()
    run(record, DayStage("tests", 10, 1, succeeds), DayStage("tests", 10, 1, succeeds))
    problem = f"{folder}/day.json cannot be written: No such file or directory"
    assert (told, record.problem) == ([f"{problem}; the day goes on"], problem)
    assert (record.result.stages["tests"].status, record.result.findings.tests) == (Status.DONE, TESTS)
    folder.mkdir()
    run(record, DayStage("tests", 10, 1, succeeds))
    assert (record.problem, read_result(folder / "day.json")) == ("", record.result)
    folder.joinpath("day.json").unlink()
    folder.rmdir()
    with pytest.raises(FileNotFoundError):
        record.begin()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP])
def test_a_signal_ends_the_stage_and_the_day(record: DayRecord, number: signal.Signals) -> None:
    """The stage cleans up, even if a second signal comes, and the next one is not started."""
    cleaned, before = [], signal.getsignal(number)
    if before is signal.SIG_IGN:
        pytest.skip("these tests were started to outlive their terminal")

    def waits(_day: Day) -> Generator[object, None, None]:
        try:
            yield WATCHED
            os.kill(os.getpid(), number)
            time.sleep(10)
        finally:
            os.kill(os.getpid(), number)
            cleaned.append(True)

    with stoppable(), pytest.raises(StopError):
        run(record, DayStage("watched", 10, 1, waits), DayStage("tests", 10, 1, succeeds))
    stopped = StageOutcome(Status.INTERRUPTED, 0.0, "told to stop")
    assert (record.result.stages, record.result.findings.watched) == ({"watched": stopped}, WATCHED)
    assert (cleaned, signal.getsignal(number)) == ([True], before)


def test_a_signal_between_two_steps_closes_the_stage(record: DayRecord, clock: Clock) -> None:
    """Its processes end before the day does."""
    closed: list[Status] = []

    def waits(_day: Day) -> Generator[object, None, None]:
        try:
            clock.stops = True
            yield WATCHED
        finally:
            closed.append(record.result.stages["watched"].status)

    with pytest.raises(StopError):
        run(record, DayStage("watched", 10, 1, waits))
    assert closed == [Status.RUNNING]
    assert record.result.stages["watched"].status is Status.INTERRUPTED


def test_a_day_that_was_started_to_outlive_its_terminal_does(record: DayRecord) -> None:
    """As with nohup, which lets SIGHUP be ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def hangs_up(_day: Day) -> Generator[object, None, None]:
        os.kill(os.getpid(), signal.SIGHUP)
        yield TESTS

    try:
        with stoppable():
            run(record, DayStage("tests", 10, 1, hangs_up))
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert record.result.stages["tests"].status is Status.DONE
