"""Holds an answer as a value: a document for scripts, and tables and lines for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

Document = Mapping[str, Any] | Sequence[Any]
"""Made of dicts, lists, strings, numbers, true, false and null only."""


class Tone(Enum):
    """What a piece of text means; colours follow from it and never say what the words do not."""

    PLAIN = ""
    GOOD = "green"
    CAREFUL = "yellow"
    BAD = "red"
    FAINT = "dim"
    HEADING = "bold"


@dataclass(frozen=True, slots=True)
class Cell:
    """Text with a meaning."""

    text: str
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; numbers stand to the `right`.

    A `wide` one is shown with `-o wide` only, a `narrow` one only without.
    """

    title: str
    right: bool = False
    wide: bool = False
    narrow: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under columns; `indent` moves all of it to the right by so many characters.

    Raises:
        ValueError: a row with more or fewer cells than there are columns.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[str | Cell, ...], ...] = ()
    indent: int = 0

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"row {row!r} has {len(row)} cells, expected {len(self.columns)}")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text; a `wide` one is shown with `-o wide` only. An empty one separates."""

    text: str = ""
    tone: Tone = Tone.PLAIN
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a command.

    Args:
        document: for `-o json` and `-o yaml`.
        body: for people, from top to bottom.
        exit_code: 0, or 1 when the answer is no.
    """

    document: Document
    body: tuple[Table | Line, ...] = ()
    exit_code: int = 0
