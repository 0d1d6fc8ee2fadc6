"""`python -m bench replay`: replays a trace under several policies, and writes a table, JSON, CSV and a figure."""

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from bench.replay.bound import BOUND
from bench.replay.deciding.learning import Contender, parse_contender
from bench.replay.drawing import draw
from bench.replay.protocols.arriving import Arriving
from bench.replay.protocols.departing import Departing
from bench.replay.protocols.timed import Timed
from bench.replay.report import table, table_csv
from bench.replay.results import Result, summary
from bench.replay.setting import Setting
from bench.replay.working import ReplayProtocol, Task, run_all
from bench.trace.reading import WHOLE_MILLI, TraceError, digest, read_nodes, read_pods
from extender.kubectl.cluster.prices import PriceError, load_prices
from extender.kubectl.finite import FiniteRange
from extender.scheduling.pods.models import RequestError
from extender.scheduling.policies.table import POLICIES

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_OUT = click.Path(dir_okay=False, writable=True, path_type=Path)


def _contenders(_: click.Context, __: click.Parameter, text: str) -> list[Contender]:
    try:
        return [parse_contender(name) for name in text.split(",")]
    except (RequestError, ValueError) as error:
        raise click.BadParameter(str(error)) from error


def _seeds(_: click.Context, __: click.Parameter, text: str) -> list[int]:
    try:
        seeds = [int(seed) for seed in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"{text!r}: expected whole numbers such as 42,43") from None
    if len(set(seeds)) != len(seeds):
        raise click.BadParameter(f"{text!r}: expected each seed once")
    return seeds


def _inflate(_: click.Context, __: click.Parameter, text: str) -> float | None:
    if text == "none":
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 100:
        raise click.BadParameter(f"{text!r}: expected a number of capacities such as 1.3, or none")
    return value


@click.command("replay")
@click.option("--nodes", type=_FILE, required=True, help="Node list, CSV (sn,cpu_milli,memory_mib,gpu,model).")
@click.option(
    "--pods", type=_FILE, required=True, help="Pod list, CSV (name,cpu_milli,memory_mib,num_gpu,gpu_milli,...)."
)
@click.option(
    "--policy",
    "contenders",
    callback=_contenders,
    default="price-fit-robust,fgd,best-fit",
    show_default=True,
    help=f"Policies, comma-separated: {', '.join(POLICIES)}. Learned ones take @online or @list: weights from what has "
    "arrived, or from the whole list (fgd's default).",
)
@click.option("--seeds", callback=_seeds, default="42", show_default=True, help="Seeds, comma-separated.")
@click.option(
    "--order",
    type=click.Choice(["shuffled", "as-listed"]),
    default="shuffled",
    show_default=True,
    help="Order of arrivals.",
)
@click.option(
    "--inflate",
    callback=_inflate,
    default="1.3",
    show_default=True,
    help="Clone pods until they ask for this many times the cluster's GPUs; none takes the list as it is.",
)
@click.option(
    "--mapping",
    type=click.Choice(["relative", "absolute"]),
    default="relative",
    show_default=True,
    help="gpu_milli as a part of any GPU (relative), or of a 16 GiB card and so less of a larger one (absolute).",
)
@click.option("--departures", type=FiniteRange(0.01, 10), help="Steady state at this offered load (1 = capacity).")
@click.option("--timestamps", is_flag=True, help="Use the trace's own times, on a cluster cut down to its peak.")
@click.option("--bound", is_flag=True, help="Add the LP bound on any policy.")
@click.option("--prices", type=_FILE, help="Price table, YAML; the shipped one by default.")
@click.option("--json", "json_file", type=_OUT, help="Write all figures as JSON.")
@click.option("--csv", "csv_file", type=_OUT, help="Write all figures as CSV.")
@click.option("--plot", "plot_file", type=_OUT, help="Write the figure as SVG.")
@click.option(
    "--processes",
    type=click.IntRange(1, 256),
    default=lambda: os.cpu_count() or 1,
    show_default="the machine's cores",
    help="Replays to run at a time.",
)
def command(
    *,
    nodes: Path,
    pods: Path,
    contenders: list[Contender],
    seeds: list[int],
    order: str,
    inflate: float | None,
    mapping: str,
    departures: float | None,
    timestamps: bool,
    bound: bool,
    prices: Path | None,
    json_file: Path | None,
    csv_file: Path | None,
    plot_file: Path | None,
    processes: int,
) -> None:
    """Replay a trace under several policies.

    Every pod goes through the shipped ledger and policies; reports what fits, on how many GPUs, and what it costs.
    """
    arriving = Arriving(shuffled=order == "shuffled", inflate=inflate)
    if timestamps and departures is not None:
        raise click.UsageError("--timestamps and --departures exclude each other")
    protocol: ReplayProtocol = Timed() if timestamps else arriving if departures is None else Departing(departures)
    if bound and protocol is not arriving:
        raise click.UsageError("--bound is for arrivals without --departures or --timestamps")
    tasks = [Task(protocol, contender, seed) for contender in contenders for seed in seeds]
    tasks += [Task(protocol, None, seed) for seed in seeds if bound]
    try:
        setting = Setting(tuple(read_nodes(nodes)), tuple(read_pods(pods)), mapping, load_prices(prices))
        with click.progressbar(length=1000, label="replay", file=sys.stderr) as bar:

            def progress(part: float) -> None:
                bar.update(max(0, int(1000 * part) - bar.pos))

            results = run_all(setting, tasks, processes=min(processes, len(tasks)), progress=progress)
    except (TraceError, PriceError) as error:
        raise click.ClickException(str(error)) from error
    told = _summary(results, setting, nodes, pods)
    click.echo(table(told))
    click.echo("\n" + _times(results), err=True)
    if json_file:
        json_file.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    if csv_file:
        csv_file.write_text(table_csv(told), encoding="utf-8")
    if plot_file:
        caption = f"{pods.name}, {len(seeds)} seeds; replayed through gpupack's ledger"
        plot_file.write_text(draw(told, results, caption=caption), encoding="utf-8")


def _summary(results: list[Result], setting: Setting, nodes: Path, pods: Path) -> dict[str, Any]:
    trace = {
        "nodes": {"file": nodes.name, "sha256": digest(nodes), "count": len(setting.nodes)},
        "pods": {"file": pods.name, "sha256": digest(pods), "count": len(setting.pods)},
        "gpus": setting.capacity_milli // WHOLE_MILLI,
        "mapping": setting.mapping,
    }
    told = summary([one for one in results if one.policy != BOUND], trace=trace, command=_command_line())
    bounds = [one for one in results if one.policy == BOUND]
    if bounds:
        told["bound"] = summary(bounds, trace={}, command="")["policies"][BOUND]
    return told


def _command_line() -> str:
    """The command as it was given, without folders, so that results are the same on every machine."""
    words = [Path(word).name if "/" in word else word for word in sys.argv[1:]]
    return shlex.join(["python", "-m", "bench", *words])


def _times(results: list[Result]) -> str:
    """Processor seconds per policy, the longest seed."""
    longest: dict[str, float] = {}
    for result in results:
        longest[result.policy] = max(longest.get(result.policy, 0.0), result.cpu_s)
    return "processor seconds per seed, at most: " + ", ".join(f"{name} {s:.1f}" for name, s in longest.items() if s)
