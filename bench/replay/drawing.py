"""Draws figures of replays as SVG: curves and GPUs in use for arrivals, rejected demand for other protocols."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import StringIO
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.replay.results import Result

mpl.use("svg")

_FROM_PERCENT = 80.0
_GRID = tuple(_FROM_PERCENT + step / 4 for step in range(201))
_OWN_COLORS = {"price-fit-robust": "#d55e00", "price-fit": "#e69f00", "fgd": "#0072b2"}
_OTHER_COLORS = (
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#8c564b",
    "#bcbd22",
    "#7f7f7f",
    "#17202a",
    "#9467bd",
    "#2ca02c",
    "#aec7e8",
)


def style() -> AbstractContextManager[None]:
    """The look of all figures; holds for what is made and saved within it."""
    return mpl.rc_context(
        {
            "font.family": "sans-serif",
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlelocation": "left",
            "axes.titleweight": "bold",
            "axes.grid": True,
            "grid.color": "#e6e6e6",
            "axes.axisbelow": True,
            "legend.frameon": False,
            # Text stays text and ids are not random, so that the same figures give the same bytes.
            "svg.fonttype": "none",
            "svg.hashsalt": "gpupack",
        }
    )


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve: points in data units; `bound` marks the points alone, since nothing is known between them."""

    label: str
    points: Sequence[tuple[float, float]]
    bound: bool = False


def colors_of(labels: Sequence[str]) -> dict[str, str]:
    """A colour per policy: our policies and FGD keep theirs in every figure."""
    others = [label for label in labels if label not in _OWN_COLORS]
    if len(others) > len(_OTHER_COLORS):
        return {label: _OWN_COLORS.get(label, "#7f7f7f") for label in labels}
    return _OWN_COLORS | dict(zip(others, _OTHER_COLORS, strict=False))


def figure(panels: int, *, caption: str) -> tuple[Figure, list[Axes]]:
    """An empty figure of panels side by side, with a caption under them."""
    made = Figure(figsize=(5.6 * panels, 4.0), layout="constrained")
    axes = [made.add_subplot(1, panels, at + 1) for at in range(panels)]
    made.supxlabel(caption, fontsize=7, color="#555555", x=0.01, ha="left")
    return made, axes


def svg(made: Figure) -> str:
    """The figure as SVG, without the time at which it was made."""
    with StringIO() as out:
        made.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
        # Matplotlib leaves trailing spaces.
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def draw_lines(axes: Axes, lines: Sequence[Curve], *, x_from: float, y_from: float) -> None:
    """Curves from there on, the legend in the order of their ends."""
    colors = colors_of([line.label for line in lines if not line.bound])
    for line in sorted(lines, key=lambda one: -one.points[-1][1]):
        known = line.label in _OWN_COLORS
        axes.plot(
            [x for x, _ in line.points],
            [y for _, y in line.points],
            label=line.label,
            color="#000000" if line.bound else colors[line.label],
            linestyle="" if line.bound else "-",
            marker="v" if line.bound else "",
            markersize=4,
            linewidth=2.0 if known else 1.1,
            zorder=3 if known else 2,
        )
    highest = max(y for line in lines for x, y in line.points if x >= x_from)
    axes.set_xlim(x_from, max(x for line in lines for x, _ in line.points))
    axes.set_ylim(y_from, highest + 0.04 * (highest - y_from))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)


def draw_points(axes: Axes, groups: Mapping[str, Mapping[str, float]]) -> None:
    """One row per policy, one marker per group: figures that are nearly alike can be told apart, unlike bars."""
    labels = list(dict.fromkeys(label for group in groups.values() for label in group))
    rows = {label: row for row, label in enumerate(reversed(labels))}
    for (group, figures), marker in zip(groups.items(), "os^Dv", strict=False):
        axes.scatter(
            list(figures.values()), [rows[label] for label in figures], marker=marker, s=26, label=group, zorder=3
        )
    axes.set_yticks(list(rows.values()), list(rows))
    axes.set_xlim(left=0)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)


def draw_bars(axes: Axes, figures: Mapping[str, Sequence[float]]) -> None:
    """A bar per policy for the mean of its seeds, a dot for each seed."""
    labels = list(figures)[::-1]
    colors = colors_of(labels)
    for row, label in enumerate(labels):
        values = figures[label]
        axes.barh(row, sum(values) / len(values), color=colors[label], height=0.6, alpha=0.85)
        axes.scatter(values, [row] * len(values), s=10, color="#17202a", zorder=3)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlim(left=0)


def draw(summary: dict[str, Any], results: Sequence[Result], *, caption: str) -> str:
    """The figure of these results as SVG; curves and markers are means over seeds, dots are single seeds."""
    means = {name: policy["mean"] for name, policy in summary["policies"].items()}
    curves = {name: [result.curve for result in results if result.policy == name and result.curve] for name in means}
    lines = [Curve(name, mean_curve(own)) for name, own in curves.items() if own]
    lines = [line for line in lines if line.points]
    if "bound" in summary:
        marks = summary["bound"]["mean"]["allocation_percent"]
        lines.append(Curve("LP bound", [(float(mark), value) for mark, value in marks.items()], bound=True))
    with style():
        return _draw_arrivals(means, lines, caption) if lines else _draw_rejected(summary, caption)


def _draw_arrivals(means: Mapping[str, Any], lines: Sequence[Curve], caption: str) -> str:
    made, (left, right) = figure(2, caption=caption)
    left.set_title("GPU demand allocated")
    left.set_xlabel("demand arrived, % of capacity")
    left.set_ylabel("allocated, % of capacity")
    draw_lines(left, lines, x_from=_FROM_PERCENT, y_from=80.0)
    right.set_title("GPUs on nodes in use")
    right.set_xlabel("GPUs")
    draw_points(
        right,
        {
            f"{mark} % demand": {
                name: mean["usage"][mark]["gpus_in_use"] for name, mean in means.items() if mark in mean["usage"]
            }
            for mark in ("30", "60", "85")
        },
    )
    return svg(made)


def mean_curve(curves: Sequence[Sequence[tuple[float, float]]]) -> list[tuple[float, float]]:
    """The mean of curves on one grid of x, as far as every curve reaches; points between two are interpolated.

    Args:
        curves: points by ascending x, each from (0, 0).
    """
    reach = min((curve[-1][0] for curve in curves if curve), default=0.0)
    return [(x, sum(_at(curve, x) for curve in curves) / len(curves)) for x in _GRID if x <= reach]


def _at(curve: Sequence[tuple[float, float]], x: float) -> float:
    after = bisect_left(curve, x, key=lambda point: point[0])
    x1, y1 = curve[after]
    if x1 == x or not after:
        return y1
    x0, y0 = curve[after - 1]
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)


def _draw_rejected(summary: dict[str, Any], caption: str) -> str:
    made, (axes,) = figure(1, caption=caption)
    axes.set_title("GPU demand rejected")
    axes.set_xlabel("% of what was asked for; a dot is one seed")
    draw_bars(
        axes,
        {
            name: [seed["rejected_percent"] for seed in policy["seeds"].values()]
            for name, policy in summary["policies"].items()
        },
    )
    return svg(made)
