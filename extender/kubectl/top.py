"""`kubectl gpupack top`: from the ledger to nodes and GPUs with what is allocated, used and free on each."""

import click

from extender.kubectl.answer import Answer, Column, Table
from extender.kubectl.options import Options, common_options
from extender.kubectl.running import run
from extender.kubectl.view import ClusterView


@click.command()
@common_options
def command(options: Options) -> None:
    """Show every GPU: what is allocated, used and free, and who is on it."""
    run(options, lambda session: table_of(session.view()))


def table_of(view: ClusterView) -> Answer:
    """A row for each GPU."""
    columns = (Column("node"), Column("gpu", right=True), Column("model"), Column("free", right=True))
    rows = tuple(
        (name, str(gpu.index), gpu.model, f"{gpu.free}/{gpu.capacity}")
        for name, node in sorted(view.snapshot.nodes.items())
        for gpu in node.gpus
    )
    return Answer({"unitMib": view.unit_mib}, (Table(columns, rows),))
