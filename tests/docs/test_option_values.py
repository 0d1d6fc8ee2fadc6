"""The values of options that pages, manifests and messages show are values that the programs take."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import pytest

from bench.cli import main as bench
from device_plugin.cli import main as device_plugin
from extender.cli import main as extender
from extender.kubectl.cli import main as kubectl_gpupack
from tests.docs.pages import REPOSITORY, pages

PROGRAMS: tuple[click.Command, ...] = (device_plugin, extender, kubectl_gpupack, bench)
SHOWN = re.compile(r"(?<![\w-])(--[a-z][a-z0-9-]+)=([^\s`\"'),;]+)")
IN_ENVIRONMENT = re.compile(r"\bGPUPACK_([A-Z0-9_]+)=([^\s`\"'),;]+)")
PLACEHOLDER = re.compile(r"[A-Z_]+$|.*[{}<>$]|\.\.\.")
SOURCES = ("extender", "device_plugin", "manifests")
OF_OTHERS = {"--output"}
"""Flags that kubectl and nvidia-ctk have, too, with other values."""


def files() -> list[Path]:
    """All pages, and every file of the programs and manifests with text for people."""
    found = [path for folder in SOURCES for path in (REPOSITORY / folder).rglob("*")]
    return [*pages(), *sorted(path for path in found if path.suffix in (".py", ".yaml", ".txt"))]


def options(command: click.Command) -> Iterator[click.Option]:
    """The options of a command and of its subcommands."""
    yield from (each for each in command.params if isinstance(each, click.Option))
    if isinstance(command, click.Group):
        with click.Context(command) as context:
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None
                yield from options(inner)


KNOWN = [option for program in PROGRAMS for option in options(program)]


def shown_in(text: str) -> list[tuple[str, str]]:
    """Flags and values that a text shows, in order."""
    variables = [(f"--{name.lower().replace('_', '-')}", value) for name, value in IN_ENVIRONMENT.findall(text)]
    # A sentence may end after it, as this one.
    found = [(flag, value.rstrip(".:")) for flag, value in (*SHOWN.findall(text), *variables)]
    return [(flag, value) for flag, value in found if value and not PLACEHOLDER.match(value)]


def is_taken(option: click.Option, value: str) -> bool:
    """Whether a program takes the value; whether a file is there is not asked."""
    if option.is_flag:
        return False
    if isinstance(option.type, click.Path | click.File):
        return True
    try:
        option.type.convert(value, option, None)
    except click.BadParameter:
        return False
    return True


def refused(shown: Iterable[tuple[str, str]]) -> list[str]:
    """What no program with such a flag takes; flags of other projects are left out."""
    wrong = []
    for flag, value in shown:
        ours = [option for option in KNOWN if flag in (*option.opts, *option.secondary_opts)]
        if ours and flag not in OF_OTHERS and not any(is_taken(option, value) for option in ours):
            wrong.append(f"{flag}={value}")
    return wrong


@pytest.mark.parametrize("file", files(), ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_values_that_are_shown_are_taken(file: Path) -> None:
    """Whoever copies one gets a program that starts."""
    assert refused(shown_in(file.read_text(encoding="utf-8"))) == []


def test_a_wrong_value_is_noticed() -> None:
    """A choice, a number, a flag without a value; not a placeholder, nor a flag of others."""
    text = (
        "`--device-list-strategy=cdi`, --policy=binpack --overuse-grace-s=soon, GPUPACK_ENFORCEMENT=limits; "
        "`--evict-overuse=true`. --memory-unit-mib=512. --listen=HOST:PORT --policy=NAME --policy={name} --of-others=1"
    )
    assert refused(shown_in(text)) == [
        "--device-list-strategy=cdi",
        "--overuse-grace-s=soon",
        "--evict-overuse=true",
        "--enforcement=limits",
    ]
