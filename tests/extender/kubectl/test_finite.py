"""Options that take numbers take numbers only."""

import click
import pytest

from bench.cli import main as bench
from extender.kubectl.cli import LazyGroup
from extender.kubectl.cli import main as kubectl
from extender.kubectl.finite import FiniteRange


@pytest.mark.parametrize("text", ["nan", "NaN", "inf", "-inf", "1e999", "0.5", "x", ""])
def test_what_is_no_number_in_the_range_is_refused(text: str) -> None:
    """With click's own message for options."""
    with pytest.raises(click.BadParameter):
        FiniteRange(1).convert(text, None, None)


def test_a_number_in_the_range() -> None:
    """With and without an upper end."""
    assert (FiniteRange(1).convert("1", None, None), FiniteRange(0, 3).convert("2.5", None, None)) == (1.0, 2.5)


@pytest.mark.parametrize("group", [bench, kubectl])
def test_every_number_with_a_fraction_is_such_a_one(group: LazyGroup) -> None:
    """In every command: click's own types take `nan`."""
    context = click.Context(group)
    commands = [group.get_command(context, name) for name in group.list_commands(context)]
    options = [option for command in commands if command is not None for option in command.params]
    loose = [
        option.name
        for option in options
        if isinstance(option.type, click.types.FloatParamType) and not isinstance(option.type, FiniteRange)
    ]
    assert (loose, bool(options)) == ([], True)
