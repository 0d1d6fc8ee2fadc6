"""`python -m bench scheduler`: pods per second of the real kube-scheduler, with and without extenders."""

import json
from pathlib import Path
from statistics import median
from typing import Any

import click

from bench.latency.load import Load


def _sizes(_: click.Context, __: click.Parameter, text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"{text!r}: expected whole numbers such as 1000,5000") from None


@click.command()
@click.option("--nodes", "sizes", callback=_sizes, default="1000", show_default=True, help="Nodes, comma-separated.")
@click.option("--gpus", default=8, show_default=True, help="GPUs of each node, 80 GiB each.")
@click.option("--pods", default=300, show_default=True, help="Pods in one run.")
@click.option(
    "--rounds", default=3, show_default=True, help="Rounds; each contender runs once a round, in alternating order."
)
@click.option(
    "--percentage", default=100, show_default=True, help="percentageOfNodesToScore; 0 is kube-scheduler's default."
)
@click.option("--only", default="", help="Contenders, comma-separated.  [default: all]")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write the figures as JSON.")
def command(  # noqa: PLR0917 (click passes by name)
    sizes: list[int], gpus: int, pods: int, rounds: int, percentage: int, only: str, json_file: Path | None
) -> None:
    """Measure the real kube-scheduler's throughput.

    Pods per second from the first tenth of a burst to its last pod, without an extender, with stubs and with gpupack;
    needs `make kubernetes`. API client limits are raised to 5000/s, and the burst is created while kube-scheduler is
    stopped.
    """
    try:
        from bench.scheduler.measuring import measure  # noqa: PLC0415 (needs the tests' control plane)
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error}: run it in a checkout of the repository") from error
    wanted = only.split(",") if only else None
    report: dict[str, Any] = {"gpus": gpus, "pods": pods, "percentageOfNodesToScore": percentage, "nodes": {}}
    for nodes in sizes:
        rates = measure(Load(nodes, gpus), pods=pods, rounds=rounds, percentage=percentage, only=wanted)
        report["nodes"][str(nodes)] = rates
        click.echo(_table(nodes, rates))
    if json_file is not None:
        json_file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _table(nodes: int, rates: dict[str, list[float]]) -> str:
    rows = [f"{nodes} nodes: pods/s", f"{'':12}{'median':>9}  runs"]
    for name, runs in rates.items():
        rows.append(f"{name:12}{median(runs):>9.1f}  {' '.join(f'{run:.0f}' for run in runs)}")
    return "\n".join(rows)
