"""`kubectl gpupack simulate`: tells whether the pods of a manifest would fit, where, and what stands in the way."""

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from extender.capacity.blocking import Blocked
from extender.capacity.cluster import Cluster
from extender.capacity.packing import Packing
from extender.capacity.simulating import Simulation, simulate
from extender.kubectl.cluster.manifests import Manifest, manifest_of
from extender.kubectl.cluster.pod_templates import TemplateError
from extender.kubectl.cluster.session import Session
from extender.kubectl.cluster.traits import cluster_of, policy_in_force, policy_option
from extender.kubectl.cluster.view import ClusterView
from extender.kubectl.options import NO, BadUsage, Options, common_options
from extender.kubectl.output.answer import Answer, Cell, Column, Line, Table, Tone
from extender.kubectl.output.texts import counted, listed, natural, of_units
from extender.kubectl.running import run
from extender.scheduling.fitting.describing import describe_request, gpus_of
from extender.scheduling.ledger.events import PodRecord

SHOWN_NODES = 20
"""Nodes shown in the table; the document has them all."""

LIMITS = "Not considered: quotas, preemption, pods ahead in the queue, and what -o wide shows as unchecked."


def _summary(result: Simulation, view: ClusterView) -> Iterable[Line]:
    copies = counted(result.copies, "copy", "copies")
    if not result.fits:
        yield Line(f"{result.at_most:,} of {copies} fit completely.", Tone.BAD)
    else:
        verb = "fits" if result.copies == 1 else "fit"
        least = "at least" if result.bounded else "at most"
        yield Line(f"{copies} {verb}; {least} {result.at_most:,} would.", Tone.GOOD)
    if result.ended_by is not None:
        yield Line(f"Bottleneck: {result.ended_by.bottleneck}, for {result.wanted[result.ended_on].name}.")
        yield Line(_free(result.ended_by, view))
        for reason, nodes in result.ended_by.nodes.items():
            yield Line(f"  {counted(nodes, 'node')}: {reason}")


def _free(why: Blocked, view: ClusterView) -> str:
    if not why.free_gpus:
        return "No GPU memory is free on GPUs that it may use."
    largest, free = of_units(why.largest_free_units, view.unit_mib), of_units(why.free_units, view.unit_mib)
    return f"Free on GPUs that it may use: {free} on {counted(why.free_gpus, 'GPU')}, at most {largest} on one."


def _pods_table(result: Simulation, view: ClusterView) -> Table:
    columns = (
        Column("pod"),
        Column("gpu memory", right=True),
        Column("gpus", right=True),
        Column("cpu", right=True),
        Column("asked", right=True),
        Column("placed", right=True),
        Column("nodes", right=True),
        Column("bottleneck"),
        Column("unchecked", wide=True),
    )
    rows = []
    for at, one in enumerate(result.wanted):
        asked, placed = one.pods * result.copies, result.placed_of(at)
        nodes = {each.node for each in result.placed if each.wanted == at}
        request = one.request
        rows.append(
            (
                one.name,
                of_units(request.memory_units, view.unit_mib) if request.memory_units else "-",
                str(sum(demand.gpus for demand in request.demands)) if request.demands else "-",
                f"{request.cpu_milli}m",
                str(asked),
                Cell(str(placed), Tone.GOOD if placed == asked else Tone.BAD),
                str(len(nodes)),
                result.refused[at].bottleneck if at in result.refused else "",
                listed(list(one.constraints.unchecked)),
            )
        )
    return Table(columns, tuple(rows))


def _nodes(result: Simulation, packing: Packing, view: ClusterView) -> Iterable[Table | Line]:
    """Where the pods go: a row for each node, with how many on each GPU."""
    on_node: dict[str, Counter[str]] = {}
    on_gpu: dict[str, Counter[str]] = {}
    for one in result.placed:
        on_node.setdefault(one.node, Counter())[result.wanted[one.wanted].name] += 1
        if one.footprint is not None:
            on_gpu.setdefault(one.node, Counter()).update((*one.footprint.shares, *one.footprint.whole))
    columns = (Column("node"), Column("pods"), Column("pods per gpu"), Column("free before", right=True))
    rows = []
    for name in sorted(on_node, key=natural):
        pods = ", ".join(f"{count} {pod}" for pod, count in sorted(on_node[name].items()))
        gpus = packing.node(name).gpus
        counts = on_gpu.get(name, Counter())
        per_gpu = ", ".join(f"{counts[gpu.uuid]} on {gpu.place}" for gpu in gpus if counts[gpu.uuid])
        before = of_units(sum(gpu.free for gpu in view.snapshot.nodes[name].gpus), view.unit_mib)
        rows.append((name, pods, per_gpu or "-", before))
    yield Table(columns, tuple(rows[:SHOWN_NODES]))
    if len(rows) > SHOWN_NODES:
        yield Line(f"and {counted(len(rows) - SHOWN_NODES, 'more node', 'more nodes')}: see -o json")


def _why(why: Blocked | None, pod: str) -> dict[str, Any] | None:
    if why is None:
        return None
    return {
        "pod": pod,
        "bottleneck": why.bottleneck,
        "nodes": dict(why.nodes),
        "free": {"units": why.free_units, "gpus": why.free_gpus, "largestUnits": why.largest_free_units},
    }


def _pod_document(result: Simulation, at: int) -> dict[str, Any]:
    one = result.wanted[at]
    return {
        "pod": one.name,
        "request": describe_request(one.request),
        "asked": one.pods * result.copies,
        "placed": result.placed_of(at),
        "refused": _why(result.refused.get(at), one.name),
        "unchecked": list(one.constraints.unchecked),
    }


def _placement(result: Simulation, at: int, packing: Packing) -> dict[str, Any]:
    one = result.placed[at]
    gpus = gpus_of(one.footprint, packing.node(one.node)) if one.footprint is not None else []
    return {"pod": result.wanted[one.wanted].name, "copy": one.copy, "node": one.node, "gpus": list(gpus)}


@click.command()
@common_options
@click.option(
    "-f",
    "--filename",
    "file",
    required=True,
    type=click.Path(dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Pods or workloads, YAML or JSON; - for standard input.",
)
@click.option(
    "--copies",
    type=click.IntRange(1, 100_000),
    default=1,
    show_default=True,
    help="How many copies of the whole manifest.",
)
@click.option("--after-waiting", is_flag=True, help="First place the pods that are already waiting for GPUs.")
@policy_option
def command(options: Options, *, file: str, copies: int, after_waiting: bool, policy: str | None) -> None:
    """Say whether pods would fit, and where.

    Also how many copies would fit at most. Pods are placed one by one on a copy of the ledger by the shipped policy, as
    the extender would place them. Nothing is created. Exit code 1 when not everything fits.
    """
    text = _text(file)

    def question(session: Session) -> Answer:
        view = session.view()
        try:
            manifest = manifest_of(text, names=view.names, unit_mib=view.unit_mib)
        except TemplateError as error:
            raise BadUsage(f"{file}: {error}") from error
        return simulated(view, manifest, copies, policy=policy, after_waiting=after_waiting)

    run(options, question)


def simulated(
    view: ClusterView, manifest: Manifest, copies: int, *, policy: str | None = None, after_waiting: bool = False
) -> Answer:
    """What would become of so many copies of a manifest; exit code 1 when not everything fits."""
    name, told_by = policy_in_force(view, policy)
    cluster = cluster_of(view)
    packing = cluster.packing(name)
    waiting = _place_waiting(packing, cluster) if after_waiting else _waiting_note(cluster)
    notes = (*manifest.notes, *waiting, *view.warnings)
    result = simulate(packing, manifest.wanted, copies)
    document = {
        "policy": name,
        "policyFrom": told_by,
        "unitMib": view.unit_mib,
        "copies": copies,
        "fits": result.fits,
        "atMost": result.at_most,
        "atMostBounded": result.bounded,
        "ended": _why(result.ended_by, result.wanted[result.ended_on].name),
        "pods": [_pod_document(result, at) for at in range(len(result.wanted))],
        "placements": [_placement(result, at, packing) for at in range(len(result.placed))],
        "notes": list(notes),
    }
    body: list[Table | Line] = [_pods_table(result, view), Line(), *_summary(result, view)]
    if result.placed:
        body += [Line(), *_nodes(result, packing, view)]
    body += [Line(), *(Line(note, Tone.CAREFUL) for note in notes), Line(LIMITS, Tone.FAINT)]
    body.append(Line(f"policy {name} ({told_by})", Tone.FAINT, wide=True))
    return Answer(document, tuple(body), 0 if result.fits else NO)


def _text(file: str) -> str:
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise BadUsage(f"--filename {file}: {error}") from error


def _waiting(cluster: Cluster) -> list[PodRecord]:
    return [pod for pod in cluster.pods if not pod.node and not pod.ended and pod.request is not None]


def _waiting_note(cluster: Cluster) -> list[str]:
    waiting = _waiting(cluster)
    waits = counted(len(waiting), "pod waits", "pods wait")
    return [f"{waits} for GPUs and may be placed first: use --after-waiting to include them"] if waiting else []


def _place_waiting(packing: Packing, cluster: Cluster) -> list[str]:
    """Place the waiting pods in the order of kube-scheduler's queue: by priority, then by age."""
    waiting = sorted(_waiting(cluster), key=lambda pod: (-pod.priority, pod.resource_version, pod.uid))
    placed = sum(
        packing.place(pod.uid, pod.request, cluster.traits_of(pod).constraints) is not None
        for pod in waiting
        if pod.request is not None and pod.request.demands
    )
    waits = counted(len(waiting), "pod that waits", "pods that wait")
    return [f"{placed} of {waits} for GPUs were placed first"] if waiting else []
