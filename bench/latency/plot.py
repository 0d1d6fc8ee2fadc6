"""From the report of case growth to a figure: latency of filter over the number of nodes. SVG."""

from io import StringIO
from typing import Any

from matplotlib.figure import Figure

from bench.replay.plot import style

_LINES = (
    ("filter_all_names", "filter, all names", "#0072b2"),
    ("floor_all_names", "floor, all names", "#666666"),
    ("filter", "filter, 100 names", "#d55e00"),
)


def draw(report: dict[str, Any]) -> str:
    """The figure as SVG text.

    Raises:
        KeyError: case growth was not measured.
    """
    growth = report["growth"]
    with style():
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.subplots()
        for key, label, color in _LINES:
            rows = growth[key]
            nodes = [int(text) for text in rows]
            axes.plot(nodes, [row["p50_ms"] for row in rows.values()], color=color, marker="o", label=f"{label}, p50")
            axes.plot(
                nodes, [row["p90_ms"] for row in rows.values()], color=color, linestyle=":", label=f"{label}, p90"
            )
        axes.set(xlabel="nodes of the cluster (8 GPUs each)", ylabel="ms a call, over HTTP", ylim=(0, None))
        axes.legend()
        text = StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
