"""The day keeps its budget and what was found, whatever its stages do."""

import os
import signal
import subprocess
import sys
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
ROOT = Path(__file__).parents[3]


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_stage_and_the_day(record: DayRecord, number: signal.Signals) -> None:
    """The stage cleans up, even if a second signal comes, and the next one is not started."""
    cleaned, before = [], signal.getsignal(number)

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


HANGS = """
import sys
from pathlib import Path
from bench.gpu_day import running
from bench.gpu_day.day import DayPlan, DayStage
from bench.gpu_day.results import DayResult
import ctypes
from tests.bench.gpu_day.gpus import FakeDayGpu

def hangs(day):
    yield day and None
    ctypes.CDLL(None).pause()  # a call into C that no signal handler of Python's ends

running.GRACE_S = 0.2
record = running.DayRecord(DayResult("now", False, 1.0), Path(sys.argv[1]))
with running.stoppable(), running.watchdog(record):
    running.run_stages([DayStage("watched", 10, 0.1, hangs)], DayPlan(), FakeDayGpu(), record)
"""


def test_a_driver_that_hangs_does_not_keep_the_day(tmp_path: Path) -> None:
    """A call that never returns can't be stopped, so the process ends itself, and says in the file why."""
    file = tmp_path / "day.json"
    command = [sys.executable, "-c", HANGS, str(file)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False, timeout=60)
    assert (done.returncode, read_result(file).stages["watched"].why) == (3, "it hung, and the day was ended")
