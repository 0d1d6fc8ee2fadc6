"""Runs rows of the matrix from the command line, prints a line for each run, and makes the table of the docs."""

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

import click

from tests.chaos.faults.matrix import ROWS
from tests.chaos.reporting import PAGE, lines_of, replaced, table
from tests.chaos.running import RunReport, run_named

_NAMES = "\b\nNAMES:\n" + "\n".join(f"  {row.name:34}{row.what}" for row in ROWS)


@click.command(
    help="Disturb simulated clusters, and print what happens: all rows of the matrix, or those of these NAMES.",
    epilog=_NAMES,
)
@click.argument("names", nargs=-1)
@click.option("--seed", "seeds", multiple=True, type=int, default=(1,), show_default=True)
@click.option("--repeats", default=1, show_default=True, help="Runs of a row on one cluster.")
@click.option("--workers", default=2, show_default=True, help="Clusters at a time.")
@click.option("--write", is_flag=True, help="Write the lines of these rows into the table of docs/faults.md.")
def main(names: tuple[str, ...], seeds: tuple[int, ...], repeats: int, workers: int, write: bool) -> None:  # noqa: FBT001 - click's
    """Run rows, each seed on a cluster of its own.

    Raises:
        click.BadParameter: there is no such row.
    """
    if unknown := set(names) - {row.name for row in ROWS}:
        raise click.BadParameter(f"{', '.join(sorted(unknown))}: expected some of {' '.join(row.name for row in ROWS)}")
    chosen = [row for row in ROWS if not names or row.name in names]
    for row in chosen:
        if reason := row.skip_because():
            click.echo(f"{row.name}: skipped: {reason}")
    reports: list[RunReport] = []
    broken = 0
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        runs = [
            (row, pool.submit(run_named, row.name, seed, repeats))
            for row in chosen
            if not row.skip_because()
            for seed in seeds
        ]
        for row, run in runs:
            if error := run.exception():
                click.echo(f"{row.name}: the run itself failed: {error!r}")
                broken += 1
                continue
            for report in run.result():
                click.echo(report.line())
                reports.append(report)
    page = PAGE.read_text(encoding="utf-8")
    click.echo(table(ROWS, reports))
    if write:
        PAGE.write_text(replaced(page, table(ROWS, reports, lines_of(page))), encoding="utf-8")
    sys.exit(1 if broken or any(report.problems for report in reports) else 0)


if __name__ == "__main__":
    main()
