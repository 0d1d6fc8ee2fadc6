"""`kubectl gpupack size-advice`: which GPU memory sizes would pack better than those that pods ask for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import click

from extender.capacity.physical import part_of_card
from extender.capacity.sizes import advise, applied, gpus_needed
from extender.capacity.sizing import SizeAdvice, SizingAdvice, Use, advise_sizes
from extender.kubectl.cluster.dumps import WHOLE_MILLI, demand_of_trace
from extender.kubectl.cluster.session import Session
from extender.kubectl.cluster.traits import owner_of
from extender.kubectl.cluster.usage import Peaks, peaks_of, read_peaks, scrape
from extender.kubectl.cluster.view import ClusterView
from extender.kubectl.finite import FiniteRange
from extender.kubectl.options import Options, common_options
from extender.kubectl.output.answer import Answer, Cell, Column, Line, Table, Tone
from extender.kubectl.output.texts import UNKNOWN, counted, natural, of_mib, of_units
from extender.kubectl.running import run, show
from extender.scheduling.ledger.events import PodRecord

SINCE = "Peaks count from when each node's device plugin first saw the pod: wait until the busiest hours are included."
_TONES = {"too large": Tone.CAREFUL, "too small": Tone.BAD, "good": Tone.GOOD, "unknown": Tone.FAINT}


@click.command()
@common_options
@click.option(
    "--metrics",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Metrics of device plugins in Prometheus' text format. Default: read through the API server. Repeatable.",
)
@click.option(
    "--trace",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Judge the sizes in a trace's pod list instead: CSV with the columns num_gpu and gpu_milli.",
)
@click.option(
    "--reach",
    type=FiniteRange(0.01, 0.9),
    default=0.1,
    show_default=True,
    help="With --trace: how much smaller a size may become, as a fraction of it.",
)
@click.option(
    "--headroom",
    type=FiniteRange(0, 10),
    default=0.1,
    show_default=True,
    help="Room to leave above the peak, as a fraction of it.",
)
def command(options: Options, *, files: tuple[Path, ...], trace: Path | None, reach: float, headroom: float) -> None:
    """Recommend sizes that would pack better.

    Compares what each workload asks for with the most that it has used, and judges sizes by what they leave for all
    other pods of the cluster. A workload whose use was not measured gets no advice. With --trace only sizes are known:
    it says which of them waste GPUs, and what a slightly smaller size would save.
    """
    if trace is not None:
        show(options, trace_advice(demand_of_trace(trace), trace.name, reach=reach))
        return
    from_files = read_peaks(files)

    def question(session: Session) -> Answer:
        view = session.view()
        namespace = session.namespaces()
        if files:
            return size_advice(view, from_files, {}, headroom=headroom, namespace=namespace)
        usage = scrape(session, view, {pod.node for pod in view.gpu_pods if _runs(pod)}, insist=True)
        return size_advice(view, peaks_of(usage.nodes.values()), usage.problems, headroom=headroom, namespace=namespace)

    run(options, question)


def size_advice(
    view: ClusterView,
    peaks: Peaks,
    problems: Mapping[str, str],
    *,
    headroom: float = 0.1,
    namespace: str | None = None,
) -> Answer:
    """The advice for all workloads, or for those of one namespace; `problems` say why nodes gave no answer."""
    advice = advise_sizes(_uses(view, peaks), view.unit_mib, headroom=headroom)
    shown = [one for one in advice.workloads if namespace in (None, one.namespace)]
    notes = [*_notes(view, problems), *view.warnings]
    document = {
        "unitMib": view.unit_mib,
        "headroom": headroom,
        "workloads": [_document(one) for one in shown],
        "neededGpus": advice.needed_gpus,
        "neededGpusAfter": advice.needed_gpus_after,
        "problems": dict(problems),
        "notes": notes,
    }
    body: list[Table | Line] = [_table(shown, view), Line(), Line(_summary(advice), Tone.HEADING)]
    body += [Line(note, Tone.CAREFUL) for note in notes]
    body.append(Line(SINCE, Tone.FAINT))
    return Answer(document, tuple(body))


def trace_advice(demand: Mapping[int, float], source: str, *, reach: float = 0.1) -> Answer:
    """The advice for sizes alone.

    Args:
        demand: GPUs asked for by size in thousandths of a GPU.
        source: where they were read, for people.
        reach: how much smaller a size may become, as a fraction of it.
    """
    found = advise(demand, WHOLE_MILLI, reach=reach)
    asked = sum(size * count for size, count in demand.items()) / WHOLE_MILLI
    needed, after = (gpus_needed(sizes, WHOLE_MILLI) for sizes in (demand, applied(demand, found)))
    document = {
        "asked_gpus": asked,
        "needed_gpus": needed,
        "needed_gpus_after": after,
        "sizes": [asdict(one) for one in found],
    }
    columns = ("size", "pods", "costs", "better", "gpus saved", "of it asked less")
    rows = tuple(
        (
            str(one.size),
            str(one.pods),
            f"{one.price:,.0f}",
            UNKNOWN if one.smaller is None else str(one.smaller),
            UNKNOWN if one.smaller is None else f"{one.gpus_saved:,.1f}",
            UNKNOWN if one.smaller is None else f"{one.gpus_asked_less:,.1f}",
        )
        for one in found
    )
    body = (
        Line(f"{source}: pods ask for {asked:,.1f} GPUs and need at least {needed:,.1f}"),
        Line(),
        Table(tuple(Column(title, right=True) for title in columns), rows),
        Line(),
        Line(f"All changes together: at least {after:,.1f} GPUs needed, {needed - after:,.1f} fewer", Tone.HEADING),
        Line(
            "Sizes and costs in thousandths of a GPU; each row is judged with all other sizes as they are.", Tone.FAINT
        ),
    )
    return Answer(document, body)


def _runs(pod: PodRecord) -> bool:
    return bool(pod.node) and not pod.ended and pod.request is not None


def _uses(view: ClusterView, peaks: Peaks) -> Iterator[Use]:
    for pod in view.gpu_pods:
        node = view.snapshot.nodes.get(pod.node)
        if not _runs(pod) or pod.footprint is None or node is None:
            continue
        found = view.pods.get(pod.uid)
        owner = owner_of(found) if found is not None else None
        workload = str(owner) if owner is not None else f"Pod/{pod.name}"
        known = peaks.get((pod.namespace, pod.name), {})
        for gpu in node.gpus:
            whole = gpu.uuid in pod.footprint.whole
            units = gpu.capacity if whole else pod.footprint.shares.get(gpu.uuid, 0)
            if units and gpu.capacity:
                peak_mib = known.get(gpu.uuid)
                held, part = min(units, gpu.capacity), part_of_card(gpu)
                yield Use(pod.namespace, workload, pod.name, held, whole, gpu.capacity, peak_mib, part)


def _notes(view: ClusterView, problems: Mapping[str, str]) -> list[str]:
    notes = []
    unplaced = sum(_runs(pod) and pod.footprint is None for pod in view.gpu_pods)
    if unplaced:
        notes.append(f"{counted(unplaced, 'pod')} left out: it is not known which GPUs they hold")
    by_reason: dict[str, list[str]] = {}
    for node, reason in problems.items():
        by_reason.setdefault(reason, []).append(node)
    for reason, nodes in sorted(by_reason.items()):
        named = nodes[0] if len(nodes) == 1 else f"{len(nodes)} nodes, {nodes[0]} among them"
        notes.append(f"use unknown on {named}: {reason}")
    return notes


def _table(shown: Sequence[SizeAdvice], view: ClusterView) -> Table:
    columns = (
        Column("namespace"),
        Column("workload"),
        Column("pods", right=True),
        Column("asks per gpu", right=True),
        Column("peak", right=True),
        Column("known", right=True),
        Column("better", right=True),
        Column("gpus saved", right=True),
        Column("verdict"),
        Column("least", right=True, wide=True),
        Column("gpu", right=True, wide=True),
    )
    rows = []
    for one in sorted(shown, key=lambda one: (-one.gpus_saved, one.namespace, natural(one.workload), one.units)):
        asks = "whole GPU" if one.whole else of_units(one.units, view.unit_mib)
        rows.append(
            (
                one.namespace,
                one.workload,
                str(one.pods),
                asks,
                of_mib(one.peak_mib),
                f"{one.known}/{one.gpus}",
                UNKNOWN if one.better_units is None else of_units(one.better_units, view.unit_mib),
                UNKNOWN if one.better_units is None else f"{one.gpus_saved:+.1f}",
                Cell(one.verdict, _TONES[one.verdict]),
                UNKNOWN if one.least_units is None else of_units(one.least_units, view.unit_mib),
                of_units(one.capacity, view.unit_mib),
            )
        )
    return Table(columns, tuple(rows))


def _summary(advice: SizingAdvice) -> str:
    if not advice.workloads:
        return "No running pod asks for GPUs."
    changed = sum(one.better_units is not None for one in advice.workloads)
    needed = f"Running pods need at least {advice.needed_gpus:,.1f} GPUs"
    if not changed:
        return f"{needed}. No better size found."
    return f"{needed}; {advice.needed_gpus_after:,.1f} with {counted(changed, 'better size')}."


def _document(one: SizeAdvice) -> dict[str, object]:
    return {
        "namespace": one.namespace,
        "workload": one.workload,
        "pods": one.pods,
        "gpus": one.gpus,
        "known": one.known,
        "units": one.units,
        "whole": one.whole,
        "capacityUnits": one.capacity,
        "peakMib": one.peak_mib,
        "leastUnits": one.least_units,
        "betterUnits": one.better_units,
        "gpusSaved": one.gpus_saved,
        "verdict": one.verdict,
    }
