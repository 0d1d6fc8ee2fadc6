"""Under no fault of the matrix is GPU memory given twice or a pod lost, and all that fits is bound soon after."""

from collections.abc import Callable

import pytest
from click.testing import CliRunner

from tests.chaos.__main__ import main
from tests.chaos.faults.matrix import ROWS, Row
from tests.chaos.running import run_row

_LONG_REPEATS = 3


def _marked(row: Row) -> object:
    marks = [pytest.mark.chaos, pytest.mark.timeout(900)]
    if not row.short:
        marks.append(pytest.mark.long)
    return pytest.param(row, id=row.name, marks=marks)


@pytest.mark.parametrize("row", [_marked(row) for row in ROWS])
def test_a_fault_passes(row: Row, record_property: Callable[[str, object], None]) -> None:
    """And what the extender says and uses is as it was."""
    if reason := row.skip_because():
        pytest.skip(reason)
    for report in run_row(row, seed=1, repeats=1 if row.short else _LONG_REPEATS):
        record_property("chaos", report.line())
        assert report.problems == ()


def test_help_lists_every_name() -> None:
    """With what the row does, and without the words that are for developers."""
    shown = CliRunner().invoke(main, ["--help"]).output
    assert [row.name for row in ROWS if f"{row.name} " not in shown or row.what not in shown] == []
    assert "Raises" not in shown


def test_names_and_descriptions_are_unique() -> None:
    """They are what rows are chosen by, and what the page shows."""
    assert len({row.name for row in ROWS}) == len(ROWS) == len({row.what for row in ROWS})


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_makes_a_fault_for_every_run(row: Row) -> None:
    """A fresh one each time: it may keep what it has done."""
    assert row.make(1) is not row.make(1)
