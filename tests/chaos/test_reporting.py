"""The table of docs/faults.md is about the faults of the matrix, no more and no less."""

from collections import Counter

import pytest

from tests.chaos.faults.disturbances import Rules
from tests.chaos.faults.matrix import ROWS, Row
from tests.chaos.reporting import HEAD, PAGE, lines_of, replaced, table
from tests.chaos.running import RunReport

_ROW = Row("a", "something breaks", lambda _: Rules(), 3.0)


def _report(
    repeat: int, *, seed: int = 1, bound: int = 10, slowest_s: float = 0.0, double: int = 0, **warnings: int
) -> RunReport:
    fates = Counter({"created": bound, "ever bound": bound})
    return RunReport("a", seed, repeat, 3.0, fates, slowest_s, 0.0, double, Counter(warnings), "")


def test_the_page_names_every_fault_in_order() -> None:
    """A row that is added or changed must be run, and the table written again."""
    lines = lines_of(PAGE.read_text(encoding="utf-8"))
    assert list(lines) == [row.what for row in ROWS]
    shown = [tuple(cell.strip() for cell in line.split("|")[2:4]) for line in lines.values()]
    assert shown == [(f"`{row.name}`", "too" if row.real else "no") for row in ROWS]


def test_all_runs_of_a_row_are_one_line() -> None:
    """Pods and double allocations of different seeds are summed, the slowest bind of all counts."""
    made = table([_ROW], [_report(0), _report(0, seed=2, slowest_s=1.26, double=2, GpupackNotBound=3)])
    assert made.splitlines()[2] == "| something breaks | `a` | no | 2 | 3 s | 20 | 2 | 0 | 1.3 s | `GpupackNotBound` |"


def test_pods_of_repeats_on_one_cluster_count_once() -> None:
    """A repeat counts what those before it have counted already."""
    made = table([_ROW], [_report(0, bound=10, slowest_s=2.0), _report(1, bound=25)])
    assert made.splitlines()[2] == "| something breaks | `a` | no | 2 | 3 s | 25 | 0 | 0 | 2.0 s | none |"


def test_only_the_table_of_a_page_is_replaced() -> None:
    """What stands around it stays."""
    before = table([_ROW], [_report(0)])
    after = table([_ROW], [_report(0, bound=99)])
    page = f"# Page\n\n{before}\nText.\n\n| another |\n|---|\n"
    assert replaced(page, after) == page.replace("| 10 |", "| 99 |")
    assert list(lines_of(page)) == ["something breaks"]


def test_rows_that_were_not_run_keep_their_line() -> None:
    """In the order of the matrix; what is no row any more goes."""
    other = Row("b", "something else breaks", lambda _: Rules(), 3.0)
    kept = {"something else breaks": "| something else breaks | 1 |", "gone": "| gone | 1 |"}
    made = table([other, _ROW], [_report(0)], kept).splitlines()[2:]
    assert [line.split("|")[1].strip() for line in made] == ["something else breaks", "something breaks"]


def test_a_page_without_the_table_is_refused() -> None:
    """Rather than written without it."""
    with pytest.raises(ValueError, match=HEAD[0]):
        lines_of("# Page\n")
