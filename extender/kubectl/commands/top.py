"""`kubectl gpupack top`: shows the GPUs of the cluster, by GPU, node or model."""

import click

from extender.kubectl.cluster.session import Session
from extender.kubectl.cluster.usage import scrape
from extender.kubectl.options import BadUsage, Options, common_options
from extender.kubectl.output.answer import Answer
from extender.kubectl.output.gpu_rows import gpu_rows
from extender.kubectl.output.top_table import By, Sort, top_answer
from extender.kubectl.running import run
from extender.scheduling.pods.models import ANY_MODEL, RequestError, parse_models


@click.command()
@common_options
@click.option("--node", default="", metavar="PATTERN", help="Only nodes whose names match; * matches anything.")
@click.option(
    "--model", default="", metavar="PATTERNS", help="Only GPUs of these models, as in gpu-model: A100*,!*MIG*"
)
@click.option(
    "--by",
    type=click.Choice([by.value for by in By]),
    default=By.AUTO.value,
    show_default=True,
    help="What has a row. auto: GPUs up to 50 nodes, nodes up to 500, then models.",
)
@click.option(
    "--sort",
    type=click.Choice([sort.value for sort in Sort]),
    default=Sort.NAME.value,
    show_default=True,
    help="By name, or the largest amount first.",
)
@click.option("--used/--no-used", default=None, help="Ask every device plugin for memory in use, or none.")
def command(options: Options, *, node: str, model: str, by: str, sort: str, used: bool | None) -> None:
    """Show GPUs: allocated, used and free memory.

    Each row also names the pods on the GPU; the last line sums up. USED is measured by the device plugins and read
    through the API server (get pods/proxy); where it is not known it is "-", and -o wide says why.
    """
    try:
        models = parse_models(model) if model else ANY_MODEL
    except RequestError as error:
        raise BadUsage(str(error)) from error

    def question(session: Session) -> Answer:
        view = session.view()
        rows = gpu_rows(view, node_pattern=node, models=models, extender=session.ask_extender("/v1/nodes"))
        if used is not False:
            usage = scrape(session, view, {row.node for row in rows if row.gpu is not None}, insist=bool(used))
            rows = [row.with_usage(usage) for row in rows]
        return top_answer(view, rows, by=By(by), sort=Sort(sort))

    run(options, question)
