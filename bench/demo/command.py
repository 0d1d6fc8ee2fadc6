"""`python -m bench demo`: runs pods on the simulated cluster, draws it, and adds up what sharing saved."""

import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import click
from rich.console import Console
from rich.live import Live

from bench.demo.exclusive import on_whole_gpus
from bench.demo.tally import Tally
from bench.demo.view import SIMULATED, picture, summary
from bench.demo.workload import NODES, DemoPod, stream
from bench.simulated.cluster import ClusterSettings, SimulatedCluster
from bench.simulated.kubelet.pod_lifecycle import RUN_ANNOTATION
from bench.simulated.specs import gpu_pod
from extender.kubectl.cluster.prices import load_prices
from extender.kubectl.finite import FiniteRange

FRAME_S = 0.5
PLAIN_FRAME_S = 5.0
GPUS = sum(gpu.count for node in NODES for gpu in node.gpus)
SLICES = {str(gpu.uuid): gpu.mig for node in NODES for gpu in node.inventory().gpus if gpu.mig is not None}


@dataclass(slots=True)
class DemoRun:
    """One run of the demo; `frames` drives it and yields the nodes to draw in each frame."""

    cluster: SimulatedCluster
    pods: Sequence[DemoPod]
    seconds: float
    tally: Tally
    created: set[str] = field(default_factory=set)
    started_s: float = field(default_factory=time.monotonic)

    @property
    def clock_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started_s

    def frames(self) -> Iterator[list[dict[str, Any]]]:
        """Create pods as they arrive, and tally what the nodes hold, until time is up."""
        while self.clock_s < self.seconds:
            for pod in self.pods:
                if pod.arrives_s <= self.clock_s and pod.name not in self.created:
                    self.cluster.client.create_pod(_manifest(pod))
                    self.created.add(pod.name)
            nodes = self.nodes()
            self.tally.add(self.clock_s, nodes)
            yield nodes
            time.sleep(FRAME_S)

    def nodes(self) -> list[dict[str, Any]]:
        """The nodes as the extender reports them now."""
        answer: dict[str, list[dict[str, Any]]] = json.loads(self.cluster.extender.get("/v1/nodes")[1])
        return answer["nodes"]

    def states(self) -> dict[str, int]:
        """Pods by phase."""
        phases = Counter(pod["status"].get("phase", "Unknown") for pod in self.cluster.client.pods("default"))
        return {phase: phases[phase] for phase in ("Pending", "Running", "Succeeded", "Failed")}


def _manifest(pod: DemoPod) -> dict[str, Any]:
    annotations = {**pod.annotations, RUN_ANNOTATION: f"{pod.runs_s:.1f}"}
    return gpu_pod(pod.name, pod.limits, annotations=annotations, requests={"cpu": "500m", "memory": "1Gi"})


@click.command()
@click.option(
    "--seconds", default=40.0, show_default=True, type=FiniteRange(0), help="Seconds during which pods arrive."
)
@click.option("--seed", default=7, show_default=True, help="Seed of the stream of pods.")
@click.option("--policy", default="", help="Packing policy.  [default: the extender's]")
@click.option("--prices", type=click.Path(path_type=Path, exists=True), help="Price table.  [default: the shipped one]")
@click.option("--keep", is_flag=True, help="Keep the cluster running afterwards, until interrupted.")
def command(*, seconds: float, seed: int, policy: str, prices: Path | None, keep: bool) -> None:
    """Show GPU sharing and what it saves.

    Runs a stream of pods on a simulated cluster of T4, A10, A100 and H100 nodes; two of the A100 are in MIG mode.
    """
    signal.signal(signal.SIGTERM, _end)
    console = Console()
    console.print(f"{SIMULATED} Starting ...")
    pods = stream(seed, seconds)
    arguments = ("--policy", policy) if policy else ()
    settings = ClusterSettings(nodes=NODES, extender_arguments=arguments)
    with SimulatedCluster(settings) as cluster:
        table = load_prices(prices)
        run = DemoRun(cluster, pods, seconds, Tally(table, SLICES))
        _draw(console, run)
        whole = on_whole_gpus(pods, NODES, table, seconds)
        click.echo(summary(run.tally.outcome, whole, len(pods), GPUS, seconds))
        failed = run.states()["Failed"]
        if failed:
            click.echo(f"{failed} pods failed at admission, which must not happen")
        if keep:
            _serve(cluster)
    if failed or not run.tally.outcome.ran:
        sys.exit(1)


def _end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as signal calls it
    """Leave by an exception, so that the cluster stops its processes and removes its folder."""
    signal.signal(number, signal.SIG_IGN)  # a second one must not break that off
    sys.exit(128 + number)


def _draw(console: Console, run: DemoRun) -> None:
    if not console.is_terminal:
        # A log gets a line now and then instead of a moving picture.
        next_s = 0.0
        for _ in run.frames():
            if run.clock_s >= next_s:
                next_s += PLAIN_FRAME_S
                console.print(f"{run.clock_s:4.0f} s  {run.states()}  GPUs in use {run.tally.in_use}", soft_wrap=True)
        return
    with Live(console=console, refresh_per_second=4) as live:
        for nodes in run.frames():
            live.update(picture(nodes, run.states(), run.tally, clock_s=run.clock_s))


def _serve(cluster: SimulatedCluster) -> None:
    click.echo(f"extender: {cluster.extender.url}  kubeconfig: {cluster.kubeconfig}  (Ctrl-C to stop)")
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        click.echo("stopping")
