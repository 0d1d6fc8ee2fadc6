"""`python -m bench cost` and `advice`: the reports of `kubectl gpupack cost` and `size-advice` on a trace."""

import json
from pathlib import Path
from random import Random

import click

from bench.replay.deciding.mapping import UNIT_MIB, mapping_named, node_record, request_of
from bench.trace.arrivals import arrivals
from bench.trace.reading import WHOLE_MILLI, TraceError, TracePod, read_nodes, read_pods
from extender.capacity.case import Case, CaseError, GpuPod
from extender.contract.names import Names
from extender.kubectl.cluster.cost_case import case_of, read_usage
from extender.kubectl.cluster.dumps import demand_of_trace, view_of_dump
from extender.kubectl.cluster.prices import PriceError, load_prices
from extender.kubectl.cluster.session import Session
from extender.kubectl.commands.cost import case_answer
from extender.kubectl.commands.size_advice import trace_advice
from extender.kubectl.finite import FiniteRange
from extender.kubectl.options import Options, Output
from extender.kubectl.output.answer import Answer
from extender.kubectl.output.writing import written

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_OUT = click.Path(dir_okay=False, path_type=Path)


@click.command("cost")
@click.option("--dump", type=_FILE, help="Output of `kubectl get nodes,pods -A -o json`.")
@click.option("--kubeconfig", type=_FILE, help="Read the live cluster instead.")
@click.option("--nodes", type=_FILE, help="Node list of a trace, with --pods.")
@click.option("--pods", type=_FILE, help="Pod list of a trace, with --nodes.")
@click.option(
    "--demand",
    type=FiniteRange(1, 200),
    default=60.0,
    show_default=True,
    help="With --nodes: GPUs that pods ask for, in percent of the nodes' GPUs.",
)
@click.option(
    "--seed", type=int, default=42, show_default=True, help="With --nodes: seed of the order of nodes and pods."
)
@click.option("--usage", type=_FILE, help="CSV namespace,pod,memory_mib: what pods with one whole GPU really use.")
@click.option(
    "--prefix", default="gpupack.io", show_default=True, help="Prefix of gpupack's resources and annotations."
)
@click.option("--gpu-resource", default="nvidia.com/gpu", show_default=True, help="Resource of whole GPUs.")
@click.option("--policy", default="price-fit-robust", show_default=True, help="Policy that packs.")
@click.option("--prices", type=_FILE, help="Price table, YAML; the shipped one by default.")
@click.option("--json", "json_file", type=_OUT, help="Write the figures as JSON.")
def cost(
    *,
    dump: Path | None,
    kubeconfig: Path | None,
    nodes: Path | None,
    pods: Path | None,
    demand: float,
    seed: int,
    usage: Path | None,
    prefix: str,
    gpu_resource: str,
    policy: str,
    prices: Path | None,
    json_file: Path | None,
) -> None:
    """Report GPUs and dollars, now and packed.

    Compares the cluster as it is with each pod on whole GPUs, with gpushare's binpack and with gpupack.
    """
    if sum(source is not None for source in (dump, kubeconfig, nodes or pods)) != 1 or bool(nodes) != bool(pods):
        raise click.UsageError("expected one of --dump, --kubeconfig, or --nodes with --pods")
    try:
        table = load_prices(prices)
        if nodes and pods:
            case = _case_of_trace(nodes, pods, demand, seed)
        else:
            case = _case_of_cluster(dump, kubeconfig, Names(prefix=prefix, gpu_resource=gpu_resource), usage)
    except (CaseError, TraceError, PriceError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    _write(case_answer(case, table, policy), json_file)


def _write(answer: Answer, json_file: Path | None) -> None:
    click.echo(written(answer, Output.TABLE, colour=False), nl=False)
    if json_file:
        json_file.write_text(json.dumps(answer.document, indent=1) + "\n", encoding="utf-8")


def _case_of_cluster(dump: Path | None, kubeconfig: Path | None, names: Names, usage: Path | None) -> Case:
    used = read_usage(usage) if usage else None
    try:
        if dump is not None:
            return case_of(view_of_dump(dump, names), source=dump.name, usage=used)
        session = Session(Options(kubeconfig=str(kubeconfig), names=names))
        try:
            return case_of(session.view(), source="live cluster", usage=used)
        finally:
            session.close()
    except click.ClickException as error:
        raise CaseError(error.format_message()) from error


def _case_of_trace(nodes: Path, pods: Path, demand: float, seed: int) -> Case:
    """Pods drawn from the list, without departures, until they ask for so many percent of the GPUs."""
    mapping = mapping_named("relative")
    machines, listed = read_nodes(nodes), read_pods(pods)
    Random(seed).shuffle(machines)
    capacity_milli = WHOLE_MILLI * sum(node.gpus for node in machines)
    drawn = arrivals(listed, capacity_milli=capacity_milli, seed=seed, inflate=demand / 100)
    width = len(str(len(machines)))
    records = tuple(node_record(node, f"node-{at:0{width}d}", mapping) for at, node in enumerate(machines))
    asking: list[GpuPod] = []
    for pod in drawn:
        if pod.gpus:
            request = request_of(pod, mapping)
            asking.append(GpuPod(pod.name, pod.qos or "-", _size_class(pod), request, request))
    notes = (
        f"{len(drawn) - len(asking)} of the pods drawn ask for no GPU and are not counted",
        "namespaces stand for the trace's quality-of-service classes",
    )
    return Case(f"{pods.name} at {demand:g} % demand, seed {seed}", UNIT_MIB, records, tuple(asking), notes=notes)


def _size_class(pod: TracePod) -> str:
    if pod.gpus > 1:
        return f"{pod.gpus} GPUs"
    if pod.gpu_milli == WHOLE_MILLI:
        return "1 GPU"
    return "share > 1/2" if 2 * pod.gpu_milli > WHOLE_MILLI else "share <= 1/2"


@click.command("advice")
@click.option("--pods", type=_FILE, required=True, help="Pod list, CSV (name,cpu_milli,memory_mib,num_gpu,...).")
@click.option(
    "--reach",
    type=FiniteRange(0.01, 0.9),
    default=0.1,
    show_default=True,
    help="How much smaller a size may become, as a fraction of it.",
)
@click.option("--json", "json_file", type=_OUT, help="Write the advice as JSON.")
def advice(pods: Path, reach: float, json_file: Path | None) -> None:
    """Name share sizes that waste GPUs.

    Says what a slightly smaller size would save.
    """
    _write(trace_advice(demand_of_trace(pods), pods.name, reach=reach), json_file)
