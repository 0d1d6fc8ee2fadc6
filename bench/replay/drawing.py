"""Which panels the figure of a replay has: curves and GPUs in use for arrivals, rejected demand for the other ways."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

from bench.replay.plot import Line, draw_bars, draw_lines, draw_points, figure, style, svg
from bench.replay.results import Result

_FROM_PERCENT = 80.0
_GRID = tuple(_FROM_PERCENT + step / 4 for step in range(201))


def draw(summary: dict[str, Any], results: Sequence[Result], *, caption: str) -> str:
    """The figure of these results as SVG; curves and markers are means over seeds, dots are single seeds."""
    means = {name: policy["mean"] for name, policy in summary["policies"].items()}
    curves = {name: [result.curve for result in results if result.policy == name and result.curve] for name in means}
    lines = [Line(name, mean_curve(own)) for name, own in curves.items() if own]
    lines = [line for line in lines if line.points]
    if "bound" in summary:
        marks = summary["bound"]["mean"]["allocation_percent"]
        lines.append(Line("LP bound", [(float(mark), value) for mark, value in marks.items()], bound=True))
    with style():
        return _draw_arrivals(means, lines, caption) if lines else _draw_rejected(summary, caption)


def _draw_arrivals(means: Mapping[str, Any], lines: Sequence[Line], caption: str) -> str:
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
