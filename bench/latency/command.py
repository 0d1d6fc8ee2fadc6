"""`python -m bench latency`: from a cluster size to tables and JSON of latencies, CPU and memory, and the floor."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from bench.latency import cases
from bench.latency.calls import measure_calls
from bench.latency.churning import measure_churn
from bench.latency.estimates import measure_learning
from bench.latency.plot import draw
from bench.latency.report import table
from bench.latency.world import Against, Size

CASES = ("calls", "start", "shapes", "growth", "events", "binds", "learning", "churn")
_GROWTH_NODES = (100, 1000, 5000)


@click.command()
@click.option("--nodes", default=1000, show_default=True, help="Nodes of the stand-in cluster.")
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
    help="What to measure; may be given several times. churn makes --lives lives of pods.",
)
@click.option("--lives", default=1_000_000, show_default=True, help="Lives of pods in case churn.")
@click.option(
    "--against", metavar="URL", help="Measure another extender (case calls), started by you; see --kubeconfig."
)
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path),
    help="With --against: written there for the other extender; the API server listens on --api-port.",
)
@click.option("--api-port", default=39998, show_default=True, help="With --against: port of the stand-in API server.")
@click.option("--pid", default=0, help="With --against: its process, for CPU and memory.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures there, too.")
@click.option("--plot", "plot_file", type=click.Path(path_type=Path), help="Draw case growth as SVG.")
@click.option(
    "--max-ratio", type=float, help="Fail when filter's fast calls (p10) take more than this times the floor's."
)
@click.option("--max-growth", type=float, help="Fail when filter at 5,000 nodes is more than this times that at 100.")
@click.option("--max-rss-mib", type=float, help="Fail when case start leaves more than this resident.")
def command(**options: Any) -> None:
    """Measure what the extender costs over HTTP, and a floor endpoint in the same run."""
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
    """What is worse than the options allow."""
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
