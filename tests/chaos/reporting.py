"""Makes the table of docs/faults.md from what runs have shown."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.chaos.faults.matrix import Row
from tests.chaos.running import RunReport

HEAD = (
    "what is wrong",
    "name",
    "real control plane",
    "runs",
    "lasts",
    "pods bound",
    "memory given twice",
    "pods lost",
    "last waiting pod bound after",
    "Warnings",
)
PAGE = Path(__file__).parents[2] / "docs" / "faults.md"


def table(rows: Iterable[Row], reports: Iterable[RunReport], kept: Mapping[str, str] | None = None) -> str:
    """A markdown table with a line for each row that was run, all its runs taken together.

    Of rows that were not run the line of an earlier table stays: `kept` has them by the first column.
    """
    found: dict[str, list[RunReport]] = {}
    for report in reports:
        found.setdefault(report.row, []).append(report)
    earlier = kept or {}
    lines = [_line(HEAD), _line(["---"] * len(HEAD))]
    for row in rows:
        if row.name in found:
            lines.append(_line(_cells(row, found[row.name])))
        elif row.what in earlier:
            lines.append(earlier[row.what])
    return "\n".join(lines) + "\n"


def lines_of(page: str) -> dict[str, str]:
    """The lines of the table on a page by their first column.

    Raises:
        ValueError: it is not there.
    """
    return {line.split("|")[1].strip(): line for line in _span(page)[2:]}


def replaced(page: str, fresh: str) -> str:
    """The page with another table in place of the one that it has.

    Raises:
        ValueError: it has none.
    """
    return page.replace("".join(f"{line}\n" for line in _span(page)), fresh)


def _span(page: str) -> list[str]:
    lines = page.splitlines()
    start = lines.index(_line(HEAD))
    end = next((number for number in range(start, len(lines)) if not lines[number].startswith("|")), len(lines))
    return lines[start:end]


def _cells(row: Row, reports: list[RunReport]) -> list[str]:
    # Repeats share a cluster, and what is counted there goes on from one to the next: the last has all of it.
    whole = {report.seed: report for report in sorted(reports, key=lambda report: report.repeat)}.values()
    seen = sum((report.warnings for report in whole), Counter[str]())
    slowest_s = max(report.slowest_bind_s for report in reports)
    return [
        row.what,
        f"`{row.name}`",
        "too" if row.real else "no",
        str(len(reports)),
        f"{row.seconds:g} s",
        str(sum(report.fates["ever bound"] for report in whole)),
        str(sum(report.double for report in whole)),
        str(sum(report.fates["lost"] for report in whole)),
        f"{slowest_s:.1f} s" if slowest_s else "none waited",
        ", ".join(f"`{reason}`" for reason in sorted(seen)) or "none",
    ]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
