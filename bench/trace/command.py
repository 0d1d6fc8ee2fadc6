"""`python -m bench trace`: writes a synthetic trace, so that everything runs without anybody's files."""

from pathlib import Path
from random import Random

import click

from bench.trace.reading import WHOLE_MILLI, write_nodes, write_pods
from bench.trace.synthetic import synthetic_nodes, synthetic_pods


@click.command("trace")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed writes the same files.")
@click.option("--nodes", type=click.IntRange(1, 100_000), default=60, show_default=True, help="Number of nodes.")
@click.option("--pods", type=click.IntRange(1, 1_000_000), default=400, show_default=True, help="Number of pods.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    show_default="the current folder",
    help="Folder for nodes.csv and pods.csv.",
)
def command(seed: int, nodes: int, pods: int, out: Path) -> None:
    """Write a synthetic trace.

    Writes nodes.csv and pods.csv in the columns of Alibaba's cluster-trace-gpu-v2023.
    """
    random = Random(seed)
    machines, demand = synthetic_nodes(nodes, random), synthetic_pods(pods, random)
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_nodes(out / "nodes.csv", machines)
        write_pods(out / "pods.csv", demand)
    except OSError as error:
        raise click.ClickException(f"{out}: {error.strerror}") from error
    gpus = sum(node.gpus for node in machines)
    asked = sum(pod.demand_milli for pod in demand) / WHOLE_MILLI
    click.echo(f"{nodes} nodes with {gpus} GPUs, {pods} pods that ask for {asked:,.1f} GPUs, in {out}")
