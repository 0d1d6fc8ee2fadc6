"""Formats scenarios as the rows and sentences of the cost report, and as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from extender.capacity.case import Case
from extender.capacity.physical import count_of
from extender.capacity.scenarios import Bill, Scenario, drainable

_HOURS_A_MONTH = 730

LEGEND = (
    "idle: GPUs of nodes in use that no pod holds; fragmented: free on GPUs in use; stranded: free beyond what the "
    "node's free CPU could feed. All in GPUs. Dollars are list prices, see the price table. A pod may go to any GPU "
    "model that it accepts: give it a gpupack.io/gpu-model where the model matters."
)


def headline(case: Case) -> str:
    """What the report is about."""
    nodes, gpus = len(case.nodes), sum(map(count_of, case.nodes))
    pods = len(case.pods)
    return (
        f"{case.source}: {nodes} node{'' if nodes == 1 else 's'} with {gpus} GPU{'' if gpus == 1 else 's'}, "
        f"{pods} pod{' that asks' if pods == 1 else 's that ask'} for GPUs"
    )


def scenario_rows(scenarios: Sequence[Scenario]) -> list[list[str]]:
    """A row for each scenario, under a row of titles."""
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


def saving(scenarios: Sequence[Scenario]) -> str:
    """The last scenario, which is gpupack's, against the first; no figures where one of them has more pods."""
    first, last = scenarios[0], scenarios[-1]
    if first.pods != last.pods:
        return _not_compared(first, last)
    change = last.usd_per_hour - first.usd_per_hour
    share = change / first.usd_per_hour if first.usd_per_hour else 0.0
    count = drainable(first, last)
    nodes = f"{count} node{'' if count == 1 else 's'}"
    return (
        f"{last.label} against {first.label}: {last.gpus_in_use - first.gpus_in_use:+d} GPUs, {_usd(change, 2)}/h "
        f"({share:+.0%}), {_usd(change * _HOURS_A_MONTH, 0)} a month; {nodes} could be drained. "
        f"{last.label} places {last.pods} of the {last.pods + last.unplaced} pods; "
        f"{first.pods} {'is' if first.pods == 1 else 'are'} placed now."
    )


def _not_compared(first: Scenario, last: Scenario) -> str:
    text = (
        f"No saving is computed, because the rows hold different pods: {first.label} {first.pods}, "
        f"{last.label} {last.pods} of {last.pods + last.unplaced}."
    )
    if last.left_out:
        reasons = ", ".join(f"{reason} ({pods})" for reason, pods in last.left_out.items())
        text += f" Left out by {last.label}: {reasons}."
    return text


def _usd(change: float, digits: int) -> str:
    return f"{'-' if change < 0 else '+'}${abs(change):,.{digits}f}"


def namespace_rows(scenarios: Sequence[Scenario]) -> list[list[str]]:
    """What each namespace holds and pays in the first and the last scenario, under a row of titles."""
    return _bill_rows("namespace", scenarios, scenarios[0].namespaces, scenarios[-1].namespaces)


def workload_rows(scenarios: Sequence[Scenario]) -> list[list[str]]:
    """The same for each workload class."""
    return _bill_rows("workload", scenarios, scenarios[0].workloads, scenarios[-1].workloads)


def report_json(case: Case, scenarios: Sequence[Scenario]) -> dict[str, Any]:
    """The same figures for scripts."""
    rows = [{**asdict(scenario), "nodes": sorted(scenario.nodes)} for scenario in scenarios]
    return {
        "source": case.source,
        "nodes": len(case.nodes),
        "gpus": sum(map(count_of, case.nodes)),
        "pods": len(case.pods),
        "scenarios": {row["label"]: row for row in rows},
        "drainable_nodes": drainable(scenarios[0], scenarios[-1]),
        "notes": list(case.notes),
    }


def _bill_rows(
    title: str, scenarios: Sequence[Scenario], before: Mapping[str, Bill], after: Mapping[str, Bill]
) -> list[list[str]]:
    first, last, none = scenarios[0], scenarios[-1], Bill()
    lines = [
        [title, "pods", f"GPUs, {first.label}", f"$/h, {first.label}", f"GPUs, {last.label}", f"$/h, {last.label}"]
    ]
    for name in sorted({*before, *after}):
        was, will = before.get(name, none), after.get(name, none)
        figures = (was.gpus, was.usd_per_hour, will.gpus, will.usd_per_hour)
        lines.append([name, str(max(was.pods, will.pods)), *(f"{figure:,.2f}" for figure in figures)])
    return lines
