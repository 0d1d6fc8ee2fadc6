"""From replay results to a figure: what is allocated as demand arrives, and the GPUs in use at lower demand. SVG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#666666", "#8c564b", "#17202a", "#bcbd22")
_WIDTH, _HEIGHT, _LEFT, _TOP = 520, 340, 64, 40
_FONT = 'font-family="Helvetica, Arial, sans-serif"'


@dataclass(frozen=True, slots=True)
class Line:
    """A curve: points in data units."""

    label: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False


def figure(panels: Sequence[str], *, caption: str) -> str:
    """Panels side by side with a caption, as one SVG document."""
    step = _WIDTH + 130
    width, height = step * len(panels), _HEIGHT + 110
    body = "".join(f'<g transform="translate({step * at},0)">{panel}</g>' for at, panel in enumerate(panels))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f'<rect width="100%" height="100%" fill="white"/>{body}'
        f'<text x="{_LEFT}" y="{height - 12}" font-size="11" fill="#555" {_FONT}>{escape(caption)}</text></svg>\n'
    )


def line_panel(lines: Sequence[Line], *, title: str, x_label: str, y_label: str, x_from: float) -> str:
    """Curves from `x_from` on; the y axis spans what they reach there."""
    shown = [(line, [point for point in line.points if point[0] >= x_from]) for line in lines]
    points = [point for _, own in shown for point in own]
    if not points:
        return ""
    x_to = max(x for x, _ in points)
    low, high = min(y for _, y in points), max(y for _, y in points)
    low, high = low - 0.05 * (high - low + 1e-9), high + 0.05 * (high - low + 1e-9)
    x_of, y_of = _scale(x_from, x_to, _LEFT, _LEFT + _WIDTH), _scale(low, high, _TOP + _HEIGHT, _TOP)
    parts = [_frame(title, x_label, y_label), _x_ticks(x_from, x_to, x_of), _y_ticks(low, high, y_of)]
    for at, (line, own) in enumerate(shown):
        path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in own)
        dash = ' stroke-dasharray="6 4"' if line.dashed else ""
        color = COLORS[at % len(COLORS)]
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.8"{dash}/>')
    parts.append(_legend([line.label for line, _ in shown]))
    return "".join(parts)


def bar_panel(groups: Mapping[str, Mapping[str, float]], *, title: str, x_label: str, y_label: str) -> str:
    """Bars by group and label, from zero."""
    labels = list(dict.fromkeys(label for bars in groups.values() for label in bars))
    highest = max((value for bars in groups.values() for value in bars.values()), default=0.0)
    if not highest:
        return ""
    y_of = _scale(0.0, 1.08 * highest, _TOP + _HEIGHT, _TOP)
    parts = [_frame(title, x_label, y_label), _y_ticks(0.0, 1.08 * highest, y_of)]
    space = _WIDTH / len(groups)
    width = 0.84 * space / len(labels)
    for number, (group, bars) in enumerate(groups.items()):
        start = _LEFT + space * number + 0.08 * space
        parts.append(_text(start + 0.42 * space, _TOP + _HEIGHT + 16, group, "middle"))
        for at, label in enumerate(labels):
            if label in bars:
                top = y_of(bars[label])
                parts.append(
                    f'<rect x="{start + at * width:.1f}" y="{top:.1f}" width="{0.9 * width:.1f}" '
                    f'height="{_TOP + _HEIGHT - top:.1f}" fill="{COLORS[at % len(COLORS)]}">'
                    f"<title>{escape(label)}: {bars[label]:,.2f}</title></rect>"
                )
    parts.append(_legend(labels))
    return "".join(parts)


class _Scale:
    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self._low, self._start = low, start
        self._factor = (end - start) / ((high - low) or 1.0)

    def __call__(self, value: float) -> float:
        return self._start + (value - self._low) * self._factor


def _scale(low: float, high: float, start: float, end: float) -> _Scale:
    return _Scale(low, high, start, end)


def _ticks(low: float, high: float) -> list[float]:
    rough = (high - low) / 6 or 1.0
    power = 1.0
    while power > rough:
        power /= 10
    while 10 * power <= rough:
        power *= 10
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first = int(low / step) + (low / step > int(low / step))
    return [step * number for number in range(first, int(high / step) + 1)]


def _x_ticks(low: float, high: float, x_of: _Scale) -> str:
    return "".join(_text(x_of(tick), _TOP + _HEIGHT + 16, f"{tick:g}", "middle") for tick in _ticks(low, high))


def _y_ticks(low: float, high: float, y_of: _Scale) -> str:
    lines = []
    for tick in _ticks(low, high):
        y = y_of(tick)
        lines.append(f'<line x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e5e5e5"/>')
        lines.append(_text(_LEFT - 6, y + 4, f"{tick:,g}", "end"))
    return "".join(lines)


def _frame(title: str, x_label: str, y_label: str) -> str:
    middle = _TOP + _HEIGHT / 2
    return (
        f'<rect x="{_LEFT}" y="{_TOP}" width="{_WIDTH}" height="{_HEIGHT}" fill="none" stroke="#999"/>'
        f'<text x="{_LEFT}" y="{_TOP - 14}" font-size="14" font-weight="bold" {_FONT}>{escape(title)}</text>'
        + _text(_LEFT + _WIDTH / 2, _TOP + _HEIGHT + 36, x_label, "middle")
        + f'<text transform="translate(16,{middle}) rotate(-90)" font-size="12" text-anchor="middle" {_FONT}>'
        f"{escape(y_label)}</text>"
    )


def _legend(labels: Sequence[str]) -> str:
    parts = []
    for at, label in enumerate(labels):
        y = _TOP + 8 + 16 * at
        color = COLORS[at % len(COLORS)]
        parts.append(f'<rect x="{_LEFT + _WIDTH + 8}" y="{y - 6}" width="12" height="4" fill="{color}"/>')
        parts.append(_text(_LEFT + _WIDTH + 24, y, label, "start"))
    return "".join(parts)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="11" text-anchor="{anchor}" {_FONT}>{escape(text)}</text>'
