"""Formats the JSON summary of replays as a table and as CSV."""

import csv
import io
from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]

TEXT_COLUMNS = ("policy", "at demand", "scenario", "namespace", "workload")
"""Columns that are aligned to the left."""


def table(summary: Json) -> str:
    """The means over seeds: one line per policy."""
    rows = [(name, policy["mean"]) for name, policy in summary["policies"].items()]
    if "bound" in summary:
        rows.append(("lp-bound", summary["bound"]["mean"]))
    marks = list(dict.fromkeys(mark for _, mean in rows for mark in mean["allocation_percent"]))
    usage = list(dict.fromkeys(mark for _, mean in rows for mark in mean.get("usage", {})))
    lines = [["policy", *(f"@{mark}" for mark in marks), "first failure", "rejected %"]]
    for name, mean in rows:
        allocation = [_number(mean["allocation_percent"].get(mark)) for mark in marks]
        failure = _number(mean["first_failure_percent"])
        lines.append([name, *allocation, failure, _number(mean["rejected_percent"], 3)])
    text = aligned(lines)
    if usage:
        text += "\n\n" + aligned(_usage_lines(rows, usage))
    return text


def _usage_lines(rows: Sequence[tuple[str, Json]], marks: Sequence[str]) -> list[list[str]]:
    lines = [["at demand", "policy", "nodes", "GPUs", "served %", "fragmented %", "$/h", "$/GPU-h"]]
    for mark in marks:
        for name, mean in rows:
            figures = mean.get("usage", {}).get(mark)
            if not figures:
                continue
            lines.append(
                [
                    f"{mark} %",
                    name,
                    _number(figures["nodes_in_use"], 0),
                    _number(figures["gpus_in_use"], 0),
                    _number(figures["served_percent"]),
                    _number(figures["fragmentation_percent"]),
                    _number(figures["usd_per_hour"], 0),
                    _number(figures["usd_per_gpu_hour"]),
                ]
            )
    return lines


def table_csv(summary: Json) -> str:
    """Every figure of every seed: policy, seed, figure, value."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("policy", "seed", "figure", "value"))
    parts = dict(summary["policies"])
    if "bound" in summary:
        parts["lp-bound"] = summary["bound"]
    for name, policy in parts.items():
        for seed, figures in (*policy["seeds"].items(), ("mean", policy["mean"])):
            for figure, value in _flat(figures):
                writer.writerow((name, seed, figure, "" if value is None else value))
    return out.getvalue()


def _flat(figures: Json, prefix: str = "") -> list[tuple[str, float | None]]:
    flat: list[tuple[str, float | None]] = []
    for name, value in figures.items():
        if isinstance(value, dict):
            flat.extend(_flat(value, f"{prefix}{name}."))
        else:
            flat.append((prefix + name, value))
    return flat


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """A table as text; the first line has the titles."""
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    text_columns = {at for at, title in enumerate(lines[0]) if title in TEXT_COLUMNS}
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at in text_columns else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
