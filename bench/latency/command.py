"""`python -m bench latency`: from a cluster size to a table and JSON of latencies, memory and the floor."""

import json
import multiprocessing
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import click

from bench.latency.driving import Caller, Cycles, measure_floor
from bench.latency.load import NAMES, Load
from bench.latency.percentiles import rss_mib
from bench.latency.processes import MeasuredProcess, free_port
from bench.simulated.apiserver import ApiServer
from bench.simulated.client import ClusterClient

START_TIMEOUT_S = 60.0
WARM_UP_CYCLES = 60


@click.command()
@click.option("--nodes", default=1000, show_default=True, help="Nodes of the simulated cluster.")
@click.option("--gpus", default=8, show_default=True, help="GPUs of each node, 80 GiB each.")
@click.option("--names", default=0, help="Node names in a filter call.  [default: all nodes]")
@click.option("--cycles", default=400, show_default=True, help="Pods placed and measured, after a warm-up.")
@click.option("--policy", default="", help="Packing policy.  [default: the extender's]")
@click.option("--placement", type=click.Choice(["exact", "scored"]), default="exact", show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures there, too.")
@click.option("--max-ratio", type=float, help="Fail when filter p50 is more than this times the floor's p50.")
def command(  # noqa: PLR0917 (click passes by name)
    nodes: int,
    gpus: int,
    names: int,
    cycles: int,
    policy: str,
    placement: str,
    json_file: Path | None,
    max_ratio: float | None,
) -> None:
    """Measure filter, prioritize and bind of the extender over HTTP, and a floor endpoint in the same run."""
    report = measure(Load(nodes, gpus), names or nodes, cycles, policy=policy, placement=placement)
    click.echo(_table(report))
    if json_file is not None:
        json_file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    ratio = report["filter"]["p50_ms"] / report["floor"]["p50_ms"]
    if max_ratio is not None and ratio > max_ratio:
        click.echo(f"filter p50 is {ratio:.2f} times the floor's, expected at most {max_ratio}")
        sys.exit(1)


def measure(load: Load, names: int, cycles: int, *, policy: str, placement: str) -> dict[str, Any]:
    """Run the benchmark; latencies are milliseconds per call.

    Raises:
        AnswerError: the extender gave an answer that no working one gives.
        TimeoutError: a process did not get ready.
    """
    node_names = [spec.name for spec in load.specs()][:names]
    with tempfile.TemporaryDirectory() as folder, _api_server(load, Path(folder)) as kubeconfig:
        client = ClusterClient.from_kubeconfig(kubeconfig)
        port, floor_port = free_port(), free_port()
        arguments = ["--kubeconfig", str(kubeconfig), "--listen", f"127.0.0.1:{port}", "--placement", placement]
        arguments += ["--log-level", "warning", *(["--policy", policy] if policy else [])]
        keep = "1" if placement == "exact" else "16"
        with (
            MeasuredProcess("extender", arguments, port, log=Path(folder) / "extender.log") as extender,
            MeasuredProcess(
                "bench.latency.floor", [str(floor_port), keep], floor_port, log=Path(folder) / "floor.log"
            ) as floor,
        ):
            run = Cycles(Caller("127.0.0.1", port), client, node_names, extender.pid)
            run.run("warm", WARM_UP_CYCLES)
            run.forget()
            # The floor is measured before and after, so that a machine whose speed drifts shows.
            before = measure_floor(Caller("127.0.0.1", floor_port), node_names, cycles // 2, floor.pid)
            run.run("load", cycles)
            after = measure_floor(Caller("127.0.0.1", floor_port), node_names, cycles // 2, floor.pid)
            lower, upper = sorted((before, after), key=lambda figures: figures.p50_ms)
            return {
                "nodes": load.nodes,
                "gpus": load.gpus,
                "names": len(node_names),
                "placement": placement,
                **{verb: figures.to_json() for verb, figures in run.report().items()},
                "floor": lower.to_json(),
                "floor_again": upper.to_json(),
                "rss_mib": round(rss_mib(extender.pid), 1),
            }


@contextmanager
def _api_server(load: Load, folder: Path) -> Iterator[Path]:
    """A simulated API server with the load's nodes and pods, in a process of its own; yields its kubeconfig."""
    context = multiprocessing.get_context("spawn")
    ready, stop = context.Event(), context.Event()
    kubeconfig = folder / "kubeconfig"
    process = context.Process(target=_serve, args=(load, kubeconfig, ready, stop), daemon=True)
    process.start()
    try:
        if not ready.wait(START_TIMEOUT_S + load.nodes * 0.05):
            raise TimeoutError("the simulated API server did not get ready")
        yield kubeconfig
    finally:
        stop.set()
        process.join(10)
        if process.is_alive():
            process.kill()


def _serve(load: Load, kubeconfig: Path, ready: Event, stop: Event) -> None:
    with ApiServer() as server:
        server.write_kubeconfig(kubeconfig)
        client = ClusterClient.from_kubeconfig(kubeconfig)
        for spec in load.specs():
            client.create_node(spec.hollow_node_object(NAMES))
        for pod in load.bound_pods():
            client.create_pod(pod)
        ready.set()
        while not stop.wait(60.0):
            pass


def _table(report: dict[str, Any]) -> str:
    rows = [
        f"{report['nodes']} nodes x {report['gpus']} GPUs, {report['names']} names in a call",
        f"placement {report['placement']}, extender RSS {report['rss_mib']} MiB",
        f"{'':12}{'calls':>7}{'p50 ms':>9}{'p90 ms':>9}{'p99 ms':>9}{'cpu ms':>9}{'bytes':>8}",
    ]
    for verb in ("filter", "prioritize", "bind", "floor", "floor_again"):
        if verb in report:
            row = report[verb]
            rows.append(
                f"{verb:12}{row['calls']:>7}{row['p50_ms']:>9.3f}{row['p90_ms']:>9.3f}{row['p99_ms']:>9.3f}"
                f"{row['cpu_ms']:>9.3f}{row['bytes_out']:>8}"
            )
    rows.append(f"filter p50 is {report['filter']['p50_ms'] / report['floor']['p50_ms']:.2f} times the floor's")
    return "\n".join(rows)
