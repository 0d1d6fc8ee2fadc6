"""Reads the commands of each example from docs/examples.md, in order, as the tests run them."""

import re
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

REPOSITORY = Path(__file__).parents[3]
PAGE = REPOSITORY / "docs" / "examples.md"
LANGUAGES = ("sh", "python")


@dataclass(frozen=True, slots=True)
class Block:
    """One block of commands: its language (`sh` or `python`) and its text."""

    language: str
    text: str


def sections(page: str) -> dict[str, tuple[Block, ...]]:
    """The blocks under each second-level heading of a Markdown page, by the heading as a Python name.

    Raises:
        ValueError: a block is in no language that a test can run, or stands above the first such heading.
    """
    found: dict[str, list[Block]] = {}
    heading = ""
    tokens = MarkdownIt().parse(page)
    for position, token in enumerate(tokens):
        if token.type == "heading_open" and token.tag == "h2":
            heading = as_name(tokens[position + 1].content)
            found[heading] = []
        elif token.type == "fence":
            if token.info not in LANGUAGES or not heading:
                raise ValueError(
                    f"block {token.content!r} under {heading!r}: expected one of {LANGUAGES}, in a section"
                )
            found[heading].append(Block(token.info, token.content))
    return {name: tuple(blocks) for name, blocks in found.items()}


def as_name(heading: str) -> str:
    """A heading as the name of the test that runs its commands, without `test_`."""
    return re.sub(r"\W+", "_", heading.lower()).strip("_")
