"""Parses the project's Markdown pages into what the tests check: blocks, commands, links, flags and anchors."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

REPOSITORY = Path(__file__).parents[2]
FOLDERS = ("docs", "manifests", "bench")


@dataclass(frozen=True, slots=True)
class Fence:
    """A block between triple backticks: its page (from the repository's root), first line, language and text."""

    page: str
    line: int
    language: str
    text: str

    @property
    def where(self) -> str:
        """For messages and test names."""
        return f"{self.page}:{self.line}"


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a `sh` block, continued lines joined, without the comment after it."""

    page: str
    line: int
    text: str

    @property
    def where(self) -> str:
        """For messages and test names."""
        return f"{self.page}:{self.line}"

    @property
    def offline(self) -> bool:
        """Whether it is one of the project's own programs and needs nothing but a checkout.

        Anything else is not run on the machine that runs the tests, since a page may show what root does.
        """
        return self.text.startswith(("python -m ", "kubectl kustomize ")) and "--kubeconfig" not in self.text


def pages(root: Path = REPOSITORY) -> list[Path]:
    """The README, the changelog and every page of the folders."""
    return [
        root / "README.md",
        root / "CHANGELOG.md",
        *sorted(page for folder in FOLDERS for page in (root / folder).rglob("*.md")),
    ]


def fences(page: Path, root: Path = REPOSITORY) -> list[Fence]:
    """The blocks of a page, in order."""
    name = str(page.relative_to(root))
    return [
        Fence(name, (token.map or [0])[0] + 1, token.info.strip(), token.content)
        for token in _tokens(page)
        if token.type == "fence"
    ]


def commands(page: Path, root: Path = REPOSITORY) -> list[Command]:
    """The commands of a page's `sh` blocks, in order."""
    return [command for fence in fences(page, root) if fence.language == "sh" for command in commands_in(fence)]


def commands_in(fence: Fence) -> Iterator[Command]:
    """The commands of one block, without comment lines."""
    started, parts = 0, list[str]()
    for number, line in enumerate(fence.text.splitlines(), start=fence.line + 1):
        text = re.sub(r"(^|\s{2,})#\s.*$", "", line).rstrip()
        if not text:
            continue
        started = started if parts else number
        parts.append(text.removesuffix("\\").strip())
        if not text.endswith("\\"):
            yield Command(fence.page, started, " ".join(parts))
            parts = []
    if parts:
        yield Command(fence.page, started, " ".join(parts))


def links(page: Path) -> list[str]:
    """Targets of the page's links and images."""
    found = []
    for token in _tokens(page):
        for child in token.children or ():
            target = child.attrGet("href") if child.type == "link_open" else None
            target = child.attrGet("src") if child.type == "image" else target
            if target:
                found.append(str(target))
    return found


def spans(page: Path) -> list[str]:
    """The code within the page's sentences, in order."""
    return [child.content for token in _tokens(page) for child in token.children or () if child.type == "code_inline"]


def flags(page: Path, root: Path = REPOSITORY) -> set[str]:
    """The flags of gpupack's programs that a page mentions: in their commands, and by themselves in the text."""
    shown = [*spans(page), *(command.text for command in commands(page, root))]
    ours = [span for span in shown if span.startswith("--") or re.match(r"(python -m|kubectl gpupack)\b", span)]
    return {flag for span in ours for flag in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", span)}


def anchors(page: Path) -> set[str]:
    """The anchors that a Markdown page has on GitHub: its headings in lower case, blanks as hyphens, no punctuation."""
    tokens = _tokens(page)
    headings = [tokens[place + 1].content for place, token in enumerate(tokens) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def _tokens(page: Path) -> list[Token]:
    return MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8"))
