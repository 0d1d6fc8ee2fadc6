"""From an Answer to text: tables, or JSON or YAML. Colour is added on request and never changes a character."""

import io
import json

import yaml
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from extender.kubectl.answer import Answer, Cell, Line, Table, Tone
from extender.kubectl.options import Output

_WIDEST = 10_000
"""Nothing is cut or wrapped: as with kubectl, the terminal wraps and `less -S` or `cut` choose."""


def written(answer: Answer, output: Output, *, colour: bool) -> str:
    """The text of an answer, ending with a line break."""
    if output is Output.JSON:
        return json.dumps(answer.document, indent=2, ensure_ascii=False) + "\n"
    if output is Output.YAML:
        return yaml.safe_dump(answer.document, sort_keys=False, allow_unicode=True)
    stream = io.StringIO()
    console = Console(
        file=stream,
        width=_WIDEST,
        force_terminal=colour,
        color_system="standard" if colour else None,
        no_color=not colour,
        legacy_windows=False,
        highlight=False,
        emoji=False,
        markup=False,
        soft_wrap=True,
    )
    wide = output is Output.WIDE
    for part in answer.body:
        if isinstance(part, Line):
            if wide or not part.wide:
                console.print(_text(Cell(part.text, part.tone)))
        else:
            console.print(_table(part, wide=wide))
    return "".join(f"{line.rstrip()}\n" for line in stream.getvalue().splitlines())


def _table(table: Table, *, wide: bool) -> Padding:
    shown = [at for at, column in enumerate(table.columns) if wide or not column.wide]
    made = RichTable(box=None, padding=(0, 3, 0, 0), pad_edge=False, show_edge=False, header_style=Tone.HEADING.value)
    for at in shown:
        column = table.columns[at]
        made.add_column(Text(column.title.upper()), justify="right" if column.right else "left", no_wrap=True)
    for row in table.rows:
        made.add_row(*(_text(row[at]) for at in shown))
    return Padding(made, (0, 0, 0, table.indent), expand=False)


def _text(cell: str | Cell) -> Text:
    if isinstance(cell, str):
        return Text(_printable(cell))
    return Text(_printable(cell.text), style=cell.tone.value)


def _printable(text: str) -> str:
    """Without what would move the cursor or colour the terminal: names and messages come from others."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
