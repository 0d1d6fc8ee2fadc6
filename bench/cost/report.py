"""From scenarios to the report for people and to JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bench.cost.case import Case
from bench.cost.packing import Bill, Scenario, drainable
from bench.replay.report import aligned

_HOURS_A_MONTH = 730
_LEGEND = (
    "idle: GPUs of nodes in use that nobody holds; fragmented: free on GPUs in use; stranded: free beyond what the "
    "node's free CPU could feed. All in GPUs. Dollars are list prices, see the price table. A pod may go to any GPU "
    "model that it accepts: give it a gpupack.io/gpu-model where the model matters."
)


def report_text(case: Case, scenarios: Sequence[Scenario]) -> str:
    """The report: the first scenario is what the others are compared with, the last is gpupack's."""
    first, last = scenarios[0], scenarios[-1]
    nodes, gpus = len(case.nodes), sum(len(record.shape.gpus) for record in case.nodes)
    parts = [
        f"{case.source}: {nodes} nodes with {gpus} GPUs, {len(case.pods)} pods that ask for GPUs",
        aligned(_rows(scenarios)),
        _saving(first, last),
        aligned(_bill_rows("namespace", first, last, first.namespaces, last.namespaces)),
        aligned(_bill_rows("workload", first, last, first.workloads, last.workloads)),
        _LEGEND,
    ]
    if case.notes:
        parts.append("notes:\n" + "\n".join(f"- {note}" for note in case.notes))
    return "\n\n".join(parts)


def report_json(case: Case, scenarios: Sequence[Scenario]) -> dict[str, Any]:
    """The same figures for scripts."""
    rows = [{**asdict(scenario), "nodes": sorted(scenario.nodes)} for scenario in scenarios]
    return {
        "source": case.source,
        "nodes": len(case.nodes),
        "gpus": sum(len(record.shape.gpus) for record in case.nodes),
        "pods": len(case.pods),
        "scenarios": {row["label"]: row for row in rows},
        "drainable_nodes": drainable(scenarios[0], scenarios[-1]),
        "notes": list(case.notes),
    }


def _rows(scenarios: Sequence[Scenario]) -> list[list[str]]:
    lines = [
        ["scenario", "nodes", "GPUs", "$/h", "pods", "left out", "held", "idle", "fragmented", "stranded", "$/GPU-h"]
    ]
    lines.extend(
        [
            one.label,
            str(one.nodes_in_use),
            str(one.gpus_in_use),
            f"{one.usd_per_hour:,.2f}",
            str(one.pods),
            str(one.unplaced),
            f"{one.held_gpus:,.1f}",
            str(one.idle_gpus),
            f"{one.fragmented_gpus:,.1f}",
            f"{one.stranded_gpus:,.1f}",
            f"{one.usd_per_hour / one.held_gpus:,.2f}" if one.held_gpus else "-",
        ]
        for one in scenarios
    )
    return lines


def _saving(first: Scenario, last: Scenario) -> str:
    change = last.usd_per_hour - first.usd_per_hour
    share = change / first.usd_per_hour if first.usd_per_hour else 0.0
    return (
        f"{last.label} against {first.label}: {last.gpus_in_use - first.gpus_in_use:+d} GPUs, {change:+,.2f} $/h "
        f"({share:+.0%}), {change * _HOURS_A_MONTH:+,.0f} $ a month; {drainable(first, last)} nodes could be drained. "
        f"It places {last.pods} of {last.pods + last.unplaced} pods, {first.label} {first.pods}."
    )


def _bill_rows(
    title: str, first: Scenario, last: Scenario, before: Mapping[str, Bill], after: Mapping[str, Bill]
) -> list[list[str]]:
    none = Bill()
    lines = [
        [title, "pods", f"GPUs, {first.label}", f"$/h, {first.label}", f"GPUs, {last.label}", f"$/h, {last.label}"]
    ]
    for name in sorted({*before, *after}):
        was, will = before.get(name, none), after.get(name, none)
        figures = (was.gpus, was.usd_per_hour, will.gpus, will.usd_per_hour)
        lines.append([name, str(max(was.pods, will.pods)), *(f"{figure:,.2f}" for figure in figures)])
    return lines
