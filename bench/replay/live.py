"""`python -m bench live`: compares the decisions of the live extender, over HTTP, with those of the replay."""

import sys
from pathlib import Path

import click

from bench.replay.setting import Setting
from bench.trace.arrivals import arrivals
from bench.trace.reading import TraceError, read_nodes, read_pods
from extender.kubectl.cluster.prices import load_prices
from extender.scheduling.policies.table import DEFAULT_POLICY, POLICIES

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_SHOWN = 10


@click.command("live")
@click.option("--nodes", type=_FILE, required=True, help="Node list, CSV.")
@click.option("--pods", type=_FILE, required=True, help="Pod list, CSV.")
@click.option(
    "--policy", type=click.Choice(sorted(POLICIES)), default=DEFAULT_POLICY, show_default=True, help="Policy."
)
@click.option("--seed", type=int, default=42, show_default=True, help="Order of nodes and pods.")
@click.option("--count", type=click.IntRange(1), default=2000, show_default=True, help="Pods to send, the first ones.")
def command(nodes: Path, pods: Path, policy: str, seed: int, count: int) -> None:
    """Compare the live extender with the replay.

    Sends the first pods of a trace through the real HTTP service and holds its decisions to those of the replay.
    """
    try:
        from tests.bench.replay.live import compare  # noqa: PLC0415 (a test does the same)
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error}: run it in a checkout of the repository") from error
    try:
        setting = Setting(tuple(read_nodes(nodes)), tuple(read_pods(pods)), "relative", load_prices())
    except TraceError as error:
        raise click.ClickException(str(error)) from error
    order = arrivals(setting.pods, capacity_milli=setting.capacity_milli, seed=seed)[:count]
    with click.progressbar(length=len(order), label="live", file=sys.stderr) as bar:
        compared = compare(setting, policy, seed, order, bar.update)
    same = compared.asked - len(compared.differing)
    click.echo(
        f"{len(order)} pods, {compared.asked} of them ask for GPUs; {compared.placed} placed by the live extender; "
        f"{same} of {compared.asked} decided as in the replay ({compared.adopted} sets of weights)"
    )
    for line in compared.differing[:_SHOWN]:
        click.echo(f"- {line}")
    if compared.differing:
        raise click.exceptions.Exit(1)
