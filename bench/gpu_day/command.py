"""`python -m bench gpu-day`: everything that is to be found out on the day when a GPU is at hand."""

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click

from bench.gpu_day.answers import OPEN, table
from bench.gpu_day.day import DayGpu, DayPlan, DayStage
from bench.gpu_day.gpu import real_gpu, stand_in_gpu
from bench.gpu_day.hanging import watch_with
from bench.gpu_day.order import STAGES
from bench.gpu_day.results import DayResult, StageOutcome, Status
from bench.gpu_day.running import DayRecord, StopError, run_stages, stoppable
from bench.gpu_day.sharing import sharing, sharing_table
from bench.simulated.nvml.driver import BuildError
from device_plugin.gpus.gpu import GpuSourceError
from extender.kubectl.finite import FiniteRange

_DRY = DayPlan(dry_run=True, run_s=0.15, counts=(1, 2))
_STOPPED = 130
OPENING = "gpu"
"""The first stage: NVML starts, and reads the GPU."""
LETTING_GO = "letting the GPU go"
_OPENING_S = 30.0
_CLOSING_S = 0.0
_NAMES = [stage.name for stage in STAGES]


@click.command(name="gpu-day")
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="File for the results, written anew after every step.",
)
@click.option("--only", multiple=True, type=click.Choice(_NAMES), help="Run this stage alone; may be repeated.")
@click.option(
    "--budget-s",
    default=500.0,
    show_default=True,
    type=FiniteRange(1),
    help="Seconds for all of it: what would not fit is not started.",
)
@click.option(
    "--run-s",
    default=DayPlan().run_s,
    show_default=True,
    type=FiniteRange(0.1),
    help="Seconds that each run of servers lasts.",
)
@click.option(
    "--with-fault",
    is_flag=True,
    help="Also let processes crash on the GPU: only on a card that nobody else uses, since it may hurt them all.",
)
@click.option("--dry-run", is_flag=True, help="Use stand-ins for the GPU, CUDA and MPS; needs a C compiler.")
def command(
    json_file: Path, only: tuple[str, ...], budget_s: float, run_s: float, *, dry_run: bool, with_fault: bool
) -> None:
    """Try on one real GPU what gpupack claims.

    Needs root, and no network. Takes at most 9 minutes. No setting of the GPU is changed. What a machine lacks is
    skipped, and the result says why. Ends with status 1 if a stage failed, if there was no time for any, or if the
    file could not be written, and with 3 if the driver hung.
    """
    plan = replace(_DRY if dry_run else DayPlan(run_s=run_s), with_fault=with_fault)
    stages = [stage for stage in STAGES if not only or stage.name in only]
    try:
        with stoppable():
            record = _begun(json_file, budget_s, dry_run=dry_run)
            status = _day(record, plan, stages, only_measured=bool(only))
    except StopError:
        status = _STOPPED
    sys.exit(status)


def _begun(file: Path, budget_s: float, *, dry_run: bool) -> DayRecord:
    """A record whose file is there."""
    begun = datetime.now(UTC).isoformat(timespec="seconds")
    result = DayResult(begun=begun, dry_run=dry_run, budget_s=budget_s)
    # A link is followed, since renaming would replace it.
    target = file.resolve()
    record = DayRecord(result, target, tell_problem=lambda problem: _say(problem, to_stderr=True))
    if target.exists() and not target.is_file():
        raise click.BadParameter(f"{file} is not a file", param_hint="--json")
    try:
        record.begin()
    except OSError as error:
        raise click.BadParameter(f"{file} cannot be written: {error.strerror}", param_hint="--json") from error
    return record


def _day(record: DayRecord, plan: DayPlan, stages: Sequence[DayStage], *, only_measured: bool) -> int:
    """Run it, print what it found, and say with which status to end."""

    def hung(name: str, outcome: StageOutcome) -> None:
        record.note(name, outcome)
        _tell(name, outcome)
        _say(report(record.result, only_measured=only_measured))
        sys.stdout.flush()

    watch = watch_with(hung)
    stack = ExitStack()
    try:
        with watch(OPENING, min(_OPENING_S, record.left_s)):
            gpu = _opened(record, plan, stack)
        if gpu is not None:
            run_stages(stages, plan, gpu, record, tell=_tell, watch=watch)
    except StopError:
        record.end_running(StageOutcome(Status.INTERRUPTED, 0.0, "told to stop"))
        raise
    finally:
        with watch(LETTING_GO, _CLOSING_S):
            stack.close()
    _say(report(record.result, only_measured=only_measured))
    return _status(record)


def _opened(record: DayRecord, plan: DayPlan, stack: ExitStack) -> DayGpu | None:
    """The GPU, which the stack closes; None if there is none, as the record then says."""
    began_s = time.monotonic()
    record.note(OPENING, StageOutcome(Status.RUNNING))
    try:
        gpu = stack.enter_context(stand_in_gpu() if plan.dry_run else real_gpu())
    except (GpuSourceError, BuildError) as error:
        failed = StageOutcome(Status.FAILED, time.monotonic() - began_s, str(error))
        record.note(OPENING, failed)
        _tell(OPENING, failed)
        return None
    record.note(OPENING, StageOutcome(Status.DONE, time.monotonic() - began_s))
    return gpu


def _status(record: DayRecord) -> int:
    """1 if a stage failed, if there was no time for any, or if the file does not have it all."""
    outcomes = {name: each.status for name, each in record.result.stages.items()}
    tried = [status for name, status in outcomes.items() if name != OPENING and status is not Status.OUT_OF_TIME]
    if record.problem:
        _say(f"Error: {record.problem}", to_stderr=True)
    if Status.FAILED in outcomes.values():
        return 1
    if not tried:
        _say("Error: there was no time for any stage: give more with --budget-s", to_stderr=True)
    return 1 if record.problem or not tried else 0


def report(result: DayResult, *, only_measured: bool = False) -> str:
    """The answers for people, as Markdown; on request without the questions that no stage looked at."""
    facts = result.findings.facts
    where = "a machine that was not looked at" if facts is None else f"{facts.gpu}, driver {facts.driver}"
    head = "DRY RUN on stand-ins: nothing below says anything about a GPU" if result.dry_run else where
    parts = ["", head, table(row for row in result.answers if not (only_measured and row.answer == OPEN))]
    colocated = result.findings.colocate
    if colocated is not None:
        parts += [f"Servers ({colocated.backend}) beside each other", sharing_table(sharing(colocated.runs))]
        parts += [f"{mode} is not complete: {why}" for mode, why in colocated.left_out.items()]
    return "\n\n".join(parts)


def _tell(name: str, outcome: StageOutcome) -> None:
    _say(f"{name}: {outcome.status} in {outcome.seconds:.1f} s {outcome.why}".rstrip())


def _say(text: str, *, to_stderr: bool = False) -> None:
    # The file has it all; a reader that has gone away (`| head`, a lost terminal) must not end the day.
    with suppress(OSError):
        click.echo(text, err=to_stderr)
