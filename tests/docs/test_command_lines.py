"""Every command line of the project's programs that a page shows, also within a sentence, is one that they take."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from bench.cli import main as bench
from device_plugin.cli import main as device_plugin
from extender.cli import main as extender
from extender.kubectl.cli import main as kubectl_gpupack
from tests.docs.pages import REPOSITORY, commands, pages, spans
from tests.docs.test_option_values import PLACEHOLDER, is_taken

PROGRAMS: dict[str, click.Command] = {
    "python -m bench": bench,
    "python -m device_plugin": device_plugin,
    "python -m extender": extender,
    "kubectl gpupack": kubectl_gpupack,
}
END = re.compile(r"[|<>&;]+$|\d?>\S*$")
"""What ends a command in a shell."""


def lines_of(page: Path) -> Iterator[tuple[str, list[str]]]:
    """The program and the arguments of each command line on a page; what is optional, in brackets, counts."""
    for text in (*spans(page), *(command.text for command in commands(page, page.parent))):
        for program in PROGRAMS:
            at = text.find(f"{program} ")
            if at < 0 or (at > 0 and text[at - 1] not in " (`"):
                continue
            words = shlex.split(re.sub(r"[\[\]]|\.\.\.", " ", text[at + len(program) :]), comments=True)
            ends = [place for place, word in enumerate(words) if END.match(word)]
            yield program, words[: ends[0]] if ends else words


def refusal(command: click.Command, arguments: list[str]) -> str:
    """Why a program does not take its arguments; empty when it does. What is missing is not asked, nor for files."""
    with click.Context(command, info_name=command.name) as context:
        try:
            values, rest, _ = command.make_parser(context).parse_args(list(arguments))
        except click.UsageError as error:
            return error.format_message()
        for option in command.params:
            given = values.get(option.name) if option.name else None
            for value in given if isinstance(given, list) else [given]:
                if not isinstance(value, str) or not isinstance(option, click.Option) or PLACEHOLDER.match(value):
                    continue
                if not is_taken(option, value):
                    return f"{option.opts[0]} {value}"
        if not isinstance(command, click.Group):
            return f"too many arguments: {rest}" if rest else ""
        inner = command.get_command(context, rest[0]) if rest else None
        if rest and inner is None:
            return f"no such command: {rest[0]}"
        return "" if inner is None else refusal(inner, rest[1:])


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_command_lines_are_taken(page: Path) -> None:
    """A subcommand or an option that was renamed is noticed on the very line that shows it."""
    wrong = [(program, words, refusal(PROGRAMS[program], words)) for program, words in lines_of(page)]
    assert [each for each in wrong if each[2]] == []


def test_command_lines_are_found(tmp_path: Path) -> None:
    """In a sentence and in a block, up to what the shell makes of them."""
    page = tmp_path / "page.md"
    page.write_text(
        "`python -m bench advice --pods p.csv [--reach 0.25]`, `make`\n\n```sh\nkubectl gpupack top > x\n```\n"
    )
    assert [(program, words) for program, words in lines_of(page)] == [
        ("python -m bench", ["advice", "--pods", "p.csv", "--reach", "0.25"]),
        ("kubectl gpupack", ["top"]),
    ]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("gpu-day --json FILE --only limits", ""),
        ("gpu-days", "no such command: gpu-days"),
        ("gpu-day --output FILE", "--output"),
        ("gpu-day --only mps", "--only mps"),
        ("gpu-day limits", "too many arguments: ['limits']"),
        ("gpu-day --json", "requires an argument"),
        ("cost", ""),
    ],
)
def test_a_wrong_line_is_refused(words: str, why: str) -> None:
    """With what is wrong; what is missing may be left to the reader."""
    found = refusal(bench, words.split())
    assert (why in found, bool(found)) == (True, bool(why))
