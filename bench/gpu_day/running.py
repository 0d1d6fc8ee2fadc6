"""Runs the day's stages in order within the budget, and keeps what each has found if it fails, hangs or is stopped."""

import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from bench.gpu_day.answers import answers
from bench.gpu_day.children import ChildError
from bench.gpu_day.day import Day, DayGpu, DayPlan, DayStage, SkipError, Timer
from bench.gpu_day.hanging import Tell, Watch, unwatched
from bench.gpu_day.results import DayResult, StageOutcome, Status, write_result

_LOG = logging.getLogger(__name__)


class StopError(BaseException):
    """The day was told to stop; a stage must not take it for a failure of its own."""


class DayRecord:
    """The result so far, in its file at every moment.

    Args:
        result: its first state.
        file: where it is written.
        clock_s: monotonic seconds.
        tell_problem: told once why the file cannot be written.
    """

    def __init__(
        self,
        result: DayResult,
        file: Path,
        clock_s: Callable[[], float] = time.monotonic,
        tell_problem: Callable[[str], None] = _LOG.warning,
    ) -> None:
        self._result = result
        self._file = file
        self._tell_problem = tell_problem
        self._was_told = False
        self.problem = ""
        """Why the file is not as `result`; empty when it is."""
        self._clock_s = clock_s
        self._began_s = clock_s()
        self._lock = threading.RLock()

    def begin(self) -> None:
        """Write the file for the first time.

        Raises:
            OSError: it cannot be written, so that the day would leave nothing.
        """
        write_result(self._result, self._file)

    @property
    def result(self) -> DayResult:
        """As it is now."""
        return self._result

    @property
    def left_s(self) -> float:
        """Seconds of the budget that are left."""
        return self._result.budget_s - (self._clock_s() - self._began_s)

    def note(self, stage: str, outcome: StageOutcome) -> None:
        """How a stage stands."""
        with self._lock:
            self._write(replace(self._result, stages={**self._result.stages, stage: outcome}))

    def keep(self, stage: str, found: object) -> None:
        """What a stage has found, instead of what it had found before."""
        fields: dict[str, Any] = {stage: found}
        with self._lock:
            self._write(replace(self._result, findings=replace(self._result.findings, **fields)))

    def end_running(self, outcome: StageOutcome) -> None:
        """Note how the stage ended that still runs, if one does, and write the file once more."""
        for name, each in self._result.stages.items():
            if each.status is Status.RUNNING:
                self.note(name, outcome)
        # The signal may have come in the middle of writing.
        with self._lock:
            self._write(self._result)

    def _write(self, result: DayResult) -> None:
        seconds = self._clock_s() - self._began_s
        self._result = replace(result, seconds=seconds, answers=answers(result.findings))
        try:
            write_result(self._result, self._file)
        except OSError as error:
            # What was found is still printed in the end, and there may be room for the next one.
            self.problem = f"{self._file} cannot be written: {error.strerror}"
            if not self._was_told:
                self._was_told = True
                self._tell_problem(f"{self.problem}; the day goes on")
        else:
            self.problem = ""


def run_stages(
    stages: Sequence[DayStage],
    plan: DayPlan,
    gpu: DayGpu,
    record: DayRecord,
    *,
    tell: Tell = lambda _name, _outcome: None,
    watch: Watch = unwatched,
) -> None:
    """Run them one after the other; no stage is started that cannot end within the budget.

    Args:
        stages: in order.
        plan: how the day is run.
        gpu: the day's GPU.
        record: gets every step.
        tell: told how each stage ended.
        watch: given a stage's name and limit in seconds, ends a day that hangs in it.

    Raises:
        StopError: the day was told to stop; the result says so.
    """
    try:
        for stage in stages:
            if record.left_s < stage.least_s:
                # Rounded down, since 14.99 s are not the 15 s that it needs.
                left_s = math.floor(10 * max(0.0, record.left_s)) / 10
                why = f"{left_s:g} s are left, it needs {stage.least_s:g}"
                outcome = StageOutcome(Status.OUT_OF_TIME, 0.0, why)
            else:
                with watch(stage.name, min(stage.limit_s, record.left_s)):
                    outcome = _run(stage, plan, gpu, record)
            record.note(stage.name, outcome)
            tell(stage.name, outcome)
    except StopError:
        record.end_running(StageOutcome(Status.INTERRUPTED, 0.0, "told to stop"))
        raise


def _run(stage: DayStage, plan: DayPlan, gpu: DayGpu, record: DayRecord) -> StageOutcome:
    record.note(stage.name, StageOutcome(Status.RUNNING))
    began_s = time.monotonic()
    timer = Timer(began_s + min(stage.limit_s, record.left_s))
    status, why = Status.DONE, ""
    try:
        with closing(stage.run(Day(plan, gpu, timer))) as steps:
            for found in steps:
                record.keep(stage.name, found)
    except SkipError as error:
        status, why = Status.SKIPPED, str(error)
    except ChildError as error:
        status, why = Status.FAILED, str(error)
    except Exception as error:  # noqa: BLE001 - the next stage is worth its try, and this one is told as failed
        _LOG.debug("%s failed", stage.name, exc_info=True)
        status, why = Status.FAILED, f"{type(error).__name__}: {error}"
    return StageOutcome(status, time.monotonic() - began_s, why)


@contextmanager
def stoppable() -> Iterator[None]:
    """Let a signal end the day in order, once; only in the main thread.

    A terminal that goes away does so, too, unless the day was started to outlive it (`nohup`).
    """
    wanted = [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        wanted.append(signal.SIGHUP)

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as signal calls it
        # While children are ended, a second signal must not break that off.
        for each in wanted:
            signal.signal(each, signal.SIG_IGN)
        raise StopError

    before = {each: signal.signal(each, stop) for each in wanted}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
