"""Runs rows of the matrix from the command line, prints a line for each run, and makes the table of the docs."""

import sys

import click

from tests.chaos.faults.matrix import ROWS
from tests.chaos.reporting import PAGE, replaced, table
from tests.chaos.running import RunReport, run_row


@click.command()
@click.option("--row", "names", multiple=True, help="Only these rows.")
@click.option("--seed", "seeds", multiple=True, type=int, default=(1,), show_default=True)
@click.option("--repeats", default=1, show_default=True, help="Runs of a row on one cluster.")
@click.option("--write", is_flag=True, help="Write the table into docs/operations.md; all rows must have been run.")
def main(names: tuple[str, ...], seeds: tuple[int, ...], repeats: int, write: bool) -> None:  # noqa: FBT001 - click's
    """Disturb simulated clusters, and print what happens."""
    reports: list[RunReport] = []
    for row in ROWS:
        if names and row.name not in names:
            continue
        if reason := row.skip_because():
            click.echo(f"{row.name}: skipped: {reason}")
            continue
        for seed in seeds:
            for report in run_row(row, seed, repeats):
                click.echo(report.line())
                reports.append(report)
    made = table(ROWS, reports)
    click.echo(made)
    if write:
        PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), made), encoding="utf-8")
    sys.exit(1 if any(report.problems for report in reports) else 0)


main()
