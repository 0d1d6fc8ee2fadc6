"""`python -m bench latency`: what the extender costs, as tables, JSON and a figure."""

import json
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
from matplotlib.figure import Figure

from bench.latency import cases
from bench.latency.calls import measure_calls
from bench.latency.churning import measure_churn
from bench.latency.estimates import measure_learning
from bench.latency.world import Against, Size
from bench.replay.drawing import style
from extender.kubectl.finite import FiniteRange

CASES = ("calls", "start", "shapes", "growth", "events", "binds", "learning", "churn")
_GROWTH_NODES = (100, 1000, 5000)
_HEAD = f"{'':14}{'calls':>7}{'p10 ms':>9}{'p50 ms':>9}{'p90 ms':>9}{'p99 ms':>9}{'cpu ms':>9}{'bytes':>8}"
_LINES = (
    ("filter_all_names", "filter, all names", "#0072b2"),
    ("floor_all_names", "floor, all names", "#666666"),
    ("filter", "filter, 100 names", "#d55e00"),
)


@click.command()
@click.option("--nodes", default=1000, show_default=True, help="Nodes of the simulated cluster.")
@click.option("--gpus", default=8, show_default=True, help="GPUs of each node, 80 GiB each.")
@click.option("--pods-per-node", default=4, show_default=True, help="Bound pods on each node at the start.")
@click.option("--pod-bytes", default=2500, show_default=True, help="JSON bytes of a pod.")
@click.option("--names", default=0, help="Node names in a filter call.  [default: all nodes]")
@click.option("--cycles", default=400, show_default=True, help="Pods placed and measured, after a warm-up.")
@click.option("--policy", default="", help="Packing policy.  [default: the extender's]")
@click.option("--placement", type=click.Choice(["exact", "scored"]), default="exact", show_default=True)
@click.option("--diverse", is_flag=True, help="Pods ask for many different amounts of CPU: few nodes look alike.")
@click.option(
    "--case",
    "wanted",
    type=click.Choice([*CASES, "all"]),
    multiple=True,
    default=("calls",),
    show_default=True,
    help="What to measure; repeatable. churn runs --lives pods.",
)
@click.option("--lives", default=1_000_000, show_default=True, help="Pods that come and go in case churn.")
@click.option(
    "--against", metavar="URL", help="Measure another extender that you start (case calls); see --kubeconfig."
)
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path),
    help="With --against: file to write for the other extender; the API server listens on --api-port.",
)
@click.option("--api-port", default=39998, show_default=True, help="With --against: port of the simulated API server.")
@click.option("--pid", default=0, help="With --against: its process, for CPU and memory.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write the figures as JSON.")
@click.option("--plot", "plot_file", type=click.Path(path_type=Path), help="Plot the growth case as SVG.")
@click.option(
    "--max-ratio",
    type=FiniteRange(0),
    help="Fail when filter's fast calls (p10) take more than this times the floor's.",
)
@click.option(
    "--max-growth", type=FiniteRange(0), help="Fail when filter at 5,000 nodes is more than this times that at 100."
)
@click.option("--max-rss-mib", type=FiniteRange(0), help="Fail when case start leaves more than this resident.")
def command(**options: Any) -> None:
    """Measure the extender's latency over HTTP.

    A floor endpoint, which decodes the same calls and decides nothing, is measured in the same run.
    """
    size = Size(options["nodes"], options["gpus"], options["pods_per_node"], options["pod_bytes"], options["diverse"])
    extra = ["--policy", options["policy"]] if options["policy"] else []
    wanted = CASES if "all" in options["wanted"] else options["wanted"]
    reports: dict[str, Any] = {}
    for case in wanted:
        reports[case] = _measure(case, size, extra, options)
        click.echo(table(case, reports[case]))
    whole = {**reports.pop("calls", {}), **reports} if "calls" in reports else reports
    if options["json_file"] is not None:
        options["json_file"].write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    if options["plot_file"] is not None:
        options["plot_file"].write_text(draw(whole), encoding="utf-8")
    problems = _problems(whole, options)
    for problem in problems:
        click.echo(problem)
    sys.exit(1 if problems else 0)


def _measure(case: str, size: Size, extra: list[str], options: dict[str, Any]) -> dict[str, Any]:
    if case == "calls":
        scored = options["placement"] == "scored"
        return measure_calls(
            size, extra, names=options["names"], cycles=options["cycles"], scored=scored, against=_against(options)
        )
    if case == "growth":
        sizes = [Size(nodes, size.gpus, size.per_node, size.pod_bytes, size.diverse) for nodes in _GROWTH_NODES]
        return cases.measure_growth(sizes, extra, names=options["names"] or 100, cycles=options["cycles"])
    if case == "churn":
        return measure_churn(size, lives=options["lives"], policy=options["policy"])
    simple: dict[str, Callable[[Size, list[str]], dict[str, Any]]] = {
        "start": cases.measure_start,
        "shapes": cases.measure_shapes,
        "events": cases.measure_events,
        "binds": cases.measure_binds,
        "learning": measure_learning,
    }
    return simple[case](size, extra)


def _against(options: dict[str, Any]) -> Against | None:
    if not options["against"]:
        return None
    if options["kubeconfig"] is None:
        raise click.UsageError("--against needs --kubeconfig, a file to write for the other extender")
    url = urlsplit(options["against"])
    if url.scheme != "http" or not url.hostname:
        raise click.BadParameter(f"{options['against']!r}: expected http://HOST:PORT/PREFIX", param_hint="--against")
    return Against(
        url.hostname, url.port or 80, url.path.rstrip("/"), options["pid"], options["kubeconfig"], options["api_port"]
    )


def _problems(report: dict[str, Any], options: dict[str, Any]) -> list[str]:
    """Which figures are worse than the options allow."""
    problems: list[str] = []
    ratio, most = report.get("ratio_p10"), options["max_ratio"]
    if most is not None and ratio is not None and ratio > most:
        problems.append(f"filter p10 is {ratio:.2f} times the floor's, expected at most {most}")
    if options["max_growth"] is not None and "growth" in report:
        rows = report["growth"]["filter"]
        growth = rows[str(_GROWTH_NODES[-1])]["p10_ms"] / rows[str(_GROWTH_NODES[0])]["p10_ms"]
        if growth > options["max_growth"]:
            problems.append(
                f"filter takes {growth:.2f} times as long at {_GROWTH_NODES[-1]} nodes as at "
                f"{_GROWTH_NODES[0]}, expected at most {options['max_growth']}"
            )
    if options["max_rss_mib"] is not None and "start" in report:
        rss_mib = report["start"]["rss_mib"]
        if rss_mib > options["max_rss_mib"]:
            problems.append(f"{rss_mib} MiB are resident after the start, expected at most {options['max_rss_mib']}")
    return problems


def table(case: str, report: dict[str, Any]) -> str:
    """A few lines; every figure is in the JSON, too."""
    rows = [f"{case}: {_described(report)}"]
    timed = {name: row for name, row in report.items() if isinstance(row, dict) and "p50_ms" in row}
    if case == "growth":
        timed = {
            f"{kind} {nodes}": row
            for kind, key in (("fixed", "filter"), ("all", "filter_all_names"), ("floor", "floor_all_names"))
            for nodes, row in report[key].items()
        }
    if timed:
        rows.append(_HEAD)
        rows += [_row(name, row) for name, row in timed.items()]
    if "ratio" in report:
        rows.append(f"filter p50 is {report['ratio']:.2f} times the floor's, p10 {report['ratio_p10']:.2f} times")
    return "\n".join(rows)


def _described(report: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in report.items() if not isinstance(value, dict))


def _row(name: str, row: dict[str, Any]) -> str:
    return (
        f"{name:14}{row['calls']:>7}{row['p10_ms']:>9.3f}{row['p50_ms']:>9.3f}{row['p90_ms']:>9.3f}{row['p99_ms']:>9.3f}"
        f"{row['cpu_ms']:>9.3f}{row['bytes_out']:>8}"
    )


def draw(report: dict[str, Any]) -> str:
    """The figure as SVG text.

    Raises:
        KeyError: case growth was not measured.
    """
    growth = report["growth"]
    with style():
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.subplots()
        for key, label, color in _LINES:
            rows = growth[key]
            nodes = [int(text) for text in rows]
            axes.plot(nodes, [row["p50_ms"] for row in rows.values()], color=color, marker="o", label=f"{label}, p50")
            axes.plot(
                nodes, [row["p90_ms"] for row in rows.values()], color=color, linestyle=":", label=f"{label}, p90"
            )
        axes.set(xlabel="nodes of the cluster (8 GPUs each)", ylabel="ms a call, over HTTP", ylim=(0, None))
        axes.legend()
        text = StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
