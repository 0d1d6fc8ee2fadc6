"""Answers become tables, JSON or YAML; nothing is cut, and colour never changes a character."""

import json
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from extender.kubectl.options import Output
from extender.kubectl.output.answer import Answer, Cell, Column, Line, Table, Tone
from extender.kubectl.output.writing import written

ANSWER = Answer(
    {"gpus": [{"name": "größte", "free": 8}]},
    (
        Table(
            (Column("node"), Column("free", right=True), Column("uuid", wide=True)),
            (("n1", Cell("8", Tone.GOOD), "GPU-1"), ("a-long-name", Cell("12", Tone.BAD), "GPU-2")),
        ),
        Line(),
        Line("2 GPUs"),
        Line("more of it", wide=True),
    ),
)


def test_a_table_is_aligned_without_lines_and_its_wide_parts_are_left_out() -> None:
    """As kubectl writes them."""
    assert (
        written(ANSWER, Output.TABLE, colour=False)
        == "NODE          FREE\nn1               8\na-long-name     12\n\n2 GPUs\n"
    )


def test_wide_shows_all() -> None:
    """Columns and lines."""
    assert written(ANSWER, Output.WIDE, colour=False) == (
        "NODE          FREE   UUID\nn1               8   GPU-1\na-long-name     12   GPU-2\n\n2 GPUs\nmore of it\n"
    )


def test_documents_are_json_and_yaml_with_their_letters() -> None:
    """Both give back what went in."""
    as_json, as_yaml = (written(ANSWER, output, colour=False) for output in (Output.JSON, Output.YAML))
    assert json.loads(as_json) == yaml.safe_load(as_yaml) == ANSWER.document
    assert "größte" in as_json
    assert "größte" in as_yaml


def test_colour_adds_codes_and_nothing_else() -> None:
    """Without its codes the text is the same."""
    coloured = written(ANSWER, Output.WIDE, colour=True)
    assert "   \x1b[32m8\x1b[0m   GPU-1" in coloured
    bare = "".join(f"{line.rstrip()}\n" for line in re.sub(r"\x1b\[[0-9;]*m", "", coloured).splitlines())
    assert bare == written(ANSWER, Output.WIDE, colour=False)


def test_names_cannot_move_the_cursor() -> None:
    """A pod's message comes from whoever writes to the API."""
    answer = Answer({}, (Line("red \x1b[31malert\r\n\x07"),))
    assert written(answer, Output.TABLE, colour=False) == "red ?[31malert???\n"


def test_a_row_must_have_a_cell_for_each_column() -> None:
    """Else it would be shown under the wrong head."""
    with pytest.raises(ValueError, match="has 1 cells, expected 2"):
        Table((Column("a"), Column("b")), (("x",),))


@given(st.lists(st.tuples(st.text(max_size=40), st.text(max_size=200)), max_size=8))
def test_every_cell_is_there_whole_whatever_it_holds(rows: list[tuple[str, str]]) -> None:
    """One line per row, nothing wrapped, cut or taken for markup."""
    table = Table((Column("a"), Column("b")), tuple(rows))
    lines = written(Answer({}, (table,)), Output.TABLE, colour=False).splitlines()
    assert len(lines) == 1 + len(rows)
    for line, row in zip(lines[1:], rows, strict=True):
        for cell in row:
            shown = "".join(letter if letter.isprintable() else "?" for letter in cell)
            assert shown.rstrip() in line
