"""`python -m bench cost`: what GPU pods cost now, on whole GPUs, and packed."""

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

import click

from bench.cost.dump import case_of_cluster, case_of_dump
from bench.replay.deciding.mapping import UNIT_MIB, mapping_named, node_record, request_of
from bench.replay.report import aligned
from bench.trace.arrivals import arrivals
from bench.trace.reading import WHOLE_MILLI, TraceError, TracePod, read_nodes, read_pods
from extender.capacity.case import Case, CaseError, GpuPod
from extender.capacity.cost_report import (
    LEGEND,
    headline,
    namespace_rows,
    report_json,
    saving,
    scenario_rows,
    workload_rows,
)
from extender.capacity.scenarios import Scenario, scenarios_of
from extender.contract.names import Names
from extender.kubectl.cluster.cost_case import read_usage
from extender.kubectl.cluster.prices import PriceError, load_prices
from extender.scheduling.pods.models import RequestError

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("cost")
@click.option("--dump", type=_FILE, help="Output of `kubectl get nodes,pods -A -o json`.")
@click.option("--kubeconfig", type=_FILE, help="Read the live cluster instead.")
@click.option("--nodes", type=_FILE, help="Node list of a trace, with --pods.")
@click.option("--pods", type=_FILE, help="Pod list of a trace, with --nodes.")
@click.option(
    "--demand",
    type=click.FloatRange(1, 200),
    default=60.0,
    show_default=True,
    help="Of a trace: GPUs that its pods ask for, in percent of the nodes'.",
)
@click.option("--seed", type=int, default=42, show_default=True, help="Order of a trace's nodes and pods.")
@click.option("--usage", type=_FILE, help="CSV namespace,pod,memory_mib: what pods with one whole GPU really use.")
@click.option(
    "--prefix", default="gpupack.io", show_default=True, help="Prefix of gpupack's resources and annotations."
)
@click.option("--gpu-resource", default="nvidia.com/gpu", show_default=True, help="Resource of whole GPUs.")
@click.option("--policy", default="price-fit-robust", show_default=True, help="Policy that packs.")
@click.option("--prices", type=_FILE, help="Price table, YAML; the shipped one by default.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures as JSON.")
def command(
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
    """Report GPUs and dollars: as it is, on whole GPUs, with gpushare's binpack, and with gpupack."""
    if sum(source is not None for source in (dump, kubeconfig, nodes or pods)) != 1 or bool(nodes) != bool(pods):
        raise click.UsageError("expected one of --dump, --kubeconfig, or --nodes with --pods")
    try:
        table = load_prices(prices)
        if nodes and pods:
            case = _case_of_trace(nodes, pods, demand, seed)
        else:
            names = Names(prefix=prefix, gpu_resource=gpu_resource)
            used = read_usage(usage) if usage else None
            if kubeconfig:
                case = case_of_cluster(kubeconfig, names=names, usage=used)
            elif dump:
                case = case_of_dump(dump.read_bytes(), source=dump.name, names=names, usage=used)
        scenarios = scenarios_of(case, table, policy)
    except RequestError as error:
        raise click.UsageError(str(error)) from error
    except (CaseError, TraceError, PriceError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(_report(case, scenarios))
    if json_file:
        json_file.write_text(json.dumps(report_json(case, scenarios), indent=1) + "\n", encoding="utf-8")


def _report(case: Case, scenarios: Sequence[Scenario]) -> str:
    parts = [
        headline(case),
        aligned(scenario_rows(scenarios)),
        saving(scenarios),
        aligned(namespace_rows(scenarios)),
        aligned(workload_rows(scenarios)),
        LEGEND,
    ]
    if case.notes:
        parts.append("notes:\n" + "\n".join(f"- {note}" for note in case.notes))
    return "\n\n".join(parts)


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
    return (
        "1 GPU"
        if pod.gpu_milli == WHOLE_MILLI
        else "share > 1/2"
        if 2 * pod.gpu_milli > WHOLE_MILLI
        else "share <= 1/2"
    )
