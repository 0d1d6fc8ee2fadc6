"""Writes an Answer as tables, JSON or YAML; colour is added on request and never changes a character."""

import json
from collections.abc import Iterator

import yaml
from rich.cells import cell_len
from rich.color import ColorSystem
from rich.style import Style

from extender.kubectl.options import Output
from extender.kubectl.output.answer import Answer, Cell, Table, Tone

_GAP = "   "


def written(answer: Answer, output: Output, *, colour: bool) -> str:
    """The text of an answer, ending with a line break.

    Nothing is cut or wrapped: as with kubectl, that is left to the terminal, or to `less -S`.
    """
    if output is Output.JSON:
        return json.dumps(answer.document, indent=2, ensure_ascii=False) + "\n"
    if output is Output.YAML:
        return yaml.safe_dump(answer.document, sort_keys=False, allow_unicode=True)
    wide = output is Output.WIDE
    lines: list[str] = []
    for part in answer.body:
        if isinstance(part, Table):
            lines += _rows(part, wide=wide, colour=colour)
        elif wide or not part.wide:
            lines.append(_styled(_printable(part.text).rstrip(), part.tone, colour=colour))
    return "".join(f"{line}\n" for line in lines)


def _rows(table: Table, *, wide: bool, colour: bool) -> Iterator[str]:
    # Written here and not with rich.table, which takes minutes for the 40,000 GPUs of 5,000 nodes.
    shown = [at for at, column in enumerate(table.columns) if not (column.narrow if wide else column.wide)]
    head = [Cell(table.columns[at].title.upper(), Tone.HEADING) for at in shown]
    rows = [head, *([_cell(row[at]) for at in shown] for row in table.rows)]
    widths = [max(map(cell_len, (row[at].text for row in rows))) for at in range(len(shown))]
    for row in rows:
        line, spaces = " " * table.indent, ""
        for at, cell in enumerate(row):
            pad = " " * (widths[at] - cell_len(cell.text))
            before, after = (pad, "") if table.columns[shown[at]].right else ("", pad)
            if cell.text:
                line += f"{spaces}{before}{_styled(cell.text, cell.tone, colour=colour)}"
                spaces = after + _GAP
            else:
                spaces += pad + _GAP
        yield line if any(cell.text for cell in row) else ""


def _cell(cell: str | Cell) -> Cell:
    return Cell(_printable(cell)) if isinstance(cell, str) else Cell(_printable(cell.text), cell.tone)


def _styled(text: str, tone: Tone, *, colour: bool) -> str:
    if not (colour and text and tone is not Tone.PLAIN):
        return text
    return Style.parse(tone.value).render(text, color_system=ColorSystem.STANDARD)


def _printable(text: str) -> str:
    """Without control characters: names and messages come from other people."""
    return text if text.isprintable() else "".join(letter if letter.isprintable() else "?" for letter in text)
