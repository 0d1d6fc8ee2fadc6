"""`python -m bench advice`: share sizes of a trace that waste GPUs."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from bench.replay.report import aligned
from bench.trace.reading import WHOLE_MILLI, TraceError, read_pods
from extender.capacity.sizes import advise, applied, gpus_needed


@click.command("advice")
@click.option(
    "--pods",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="Pod list, CSV (name,cpu_milli,memory_mib,num_gpu,gpu_milli,...).",
)
@click.option(
    "--reach",
    type=click.FloatRange(0.01, 0.9),
    default=0.1,
    show_default=True,
    help="How much smaller a size may become, as a part of it.",
)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the advice as JSON.")
def command(pods: Path, reach: float, json_file: Path | None) -> None:
    """Say which share sizes pay for more than they ask for, and what a slightly smaller size would save."""
    try:
        listed = read_pods(pods)
    except TraceError as error:
        raise click.ClickException(str(error)) from error
    demand: dict[int, float] = {}
    for pod in listed:
        if pod.gpus:
            demand[pod.gpu_milli] = demand.get(pod.gpu_milli, 0.0) + pod.gpus
    found = advise(demand, WHOLE_MILLI, reach=reach)
    needed = gpus_needed(demand, WHOLE_MILLI)
    asked = sum(size * count for size, count in demand.items()) / WHOLE_MILLI
    click.echo(f"{pods.name}: {asked:,.1f} GPUs asked for, at least {needed:,.1f} needed\n")
    lines = [["size", "pods", "costs", "better", "GPUs saved", "of it asked less"]]
    for one in found:
        better = "-" if one.smaller is None else str(one.smaller)
        saved = "-" if one.smaller is None else f"{one.gpus_saved:,.1f}"
        less = "-" if one.smaller is None else f"{one.gpus_asked_less:,.1f}"
        lines.append([str(one.size), str(one.pods), f"{one.price:,.0f}", better, saved, less])
    click.echo(aligned(lines))
    after = gpus_needed(applied(demand, found), WHOLE_MILLI)
    click.echo("\nsizes and costs in thousandths of a GPU; each row alone, with all other sizes as they are")
    click.echo(f"all of it together: at least {after:,.1f} GPUs needed, {needed - after:,.1f} less")
    if json_file:
        told = {
            "asked_gpus": asked,
            "needed_gpus": needed,
            "needed_gpus_after": after,
            "sizes": [asdict(one) for one in found],
        }
        json_file.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
