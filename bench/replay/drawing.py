"""Which panels the figure of a replay has: curves and GPUs in use for arrivals, rejected demand for the other ways."""

from collections.abc import Sequence
from typing import Any

from bench.replay.plot import Line, bar_panel, figure, line_panel
from bench.replay.results import Result

_FROM_PERCENT = 75.0


def draw(summary: dict[str, Any], results: Sequence[Result], *, caption: str) -> str:
    """The figure of these results as SVG; curves are those of each policy's first seed, bars are means."""
    means = {name: policy["mean"] for name, policy in summary["policies"].items()}
    panels = []
    lines = [
        Line(name, next(result.curve for result in results if result.policy == name))
        for name in means
        if any(result.policy == name and result.curve for result in results)
    ]
    if "bound" in summary:
        marks = summary["bound"]["mean"]["allocation_percent"]
        lines.append(Line("LP bound", [(float(mark), value) for mark, value in marks.items()], dashed=True))
    if lines:
        panels.append(
            line_panel(
                lines,
                title="GPU demand allocated",
                x_label="demand arrived, % of capacity",
                y_label="allocated, % of capacity",
                x_from=_FROM_PERCENT,
            )
        )
        usage = {
            f"{mark} % demand": {
                name: mean["usage"][mark]["gpus_in_use"] for name, mean in means.items() if mark in mean["usage"]
            }
            for mark in ("30", "60", "85")
        }
        panels.append(
            bar_panel(usage, title="GPUs on nodes in use", x_label="demand arrived, % of capacity", y_label="GPUs")
        )
    else:
        rejected = {"": {name: mean["rejected_percent"] for name, mean in means.items()}}
        panels.append(
            bar_panel(rejected, title="GPU demand rejected", x_label="policy", y_label="rejected, % of demand")
        )
    return figure([panel for panel in panels if panel], caption=caption)
