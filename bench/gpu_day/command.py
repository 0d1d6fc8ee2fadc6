"""`python -m bench gpu-day`: everything that is to be found out on the day when a GPU is at hand."""

import sys
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click

from bench.gpu_day.answers import OPEN, table
from bench.gpu_day.day import DayPlan
from bench.gpu_day.gpu import real_gpu, stand_in_gpu
from bench.gpu_day.order import STAGES
from bench.gpu_day.results import DayResult, StageOutcome, Status, write_result
from bench.gpu_day.running import DayRecord, StopError, run_stages, stoppable, watchdog
from bench.gpu_day.sharing import sharing, sharing_table
from bench.simulated.nvml.driver import BuildError
from device_plugin.gpus.gpu import GpuSourceError

_DRY = DayPlan(dry_run=True, run_s=0.15, counts=(1, 2))
_STOPPED = 130
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
    type=click.FloatRange(1),
    help="Seconds for all of it: what would not fit is not started.",
)
@click.option(
    "--run-s",
    default=DayPlan().run_s,
    show_default=True,
    type=click.FloatRange(0.1),
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
    skipped, and the result says why. Ends with status 1 if a stage failed.
    """
    plan = replace(_DRY if dry_run else DayPlan(run_s=run_s), with_fault=with_fault)
    begun = datetime.now(UTC).isoformat(timespec="seconds")
    record = DayRecord(DayResult(begun=begun, dry_run=dry_run, budget_s=budget_s), json_file)
    stages = [stage for stage in STAGES if not only or stage.name in only]
    try:
        with stoppable(), watchdog(record), ExitStack() as stack:
            gpu = stack.enter_context(stand_in_gpu() if dry_run else real_gpu())
            run_stages(stages, plan, gpu, record, _tell)
    except (GpuSourceError, BuildError) as error:
        raise click.ClickException(str(error)) from error
    except StopError:
        sys.exit(_STOPPED)
    finally:
        write_result(record.result, json_file)
    click.echo(report(record.result, only_measured=bool(only)))
    if any(outcome.status is Status.FAILED for outcome in record.result.stages.values()):
        sys.exit(1)


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
    click.echo(f"{name}: {outcome.status} in {outcome.seconds:.1f} s {outcome.why}".rstrip())
