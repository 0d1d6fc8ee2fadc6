"""Runs `kubectl gpupack`; a command's module is imported only when that command is used."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

COMMANDS: Mapping[str, str] = {
    "cordon": "extender.kubectl.commands.cordon:cordon",
    "cost": "extender.kubectl.commands.cost:command",
    "drain-advice": "extender.kubectl.commands.drain_advice:command",
    "doctor": "extender.kubectl.commands.doctor:command",
    "explain": "extender.kubectl.commands.explain:command",
    "migrate": "extender.kubectl.commands.migrate:command",
    "pods": "extender.kubectl.commands.pods:command",
    "simulate": "extender.kubectl.commands.simulate:command",
    "size-advice": "extender.kubectl.commands.size_advice:command",
    "top": "extender.kubectl.commands.top:command",
    "uncordon": "extender.kubectl.commands.cordon:uncordon",
}
"""Name of a command to `module:attribute` of its click command."""


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is run or its help is shown.

    Args:
        lazy: name of a command to `module:attribute` of its click command.
    """

    def __init__(self, *args: Any, lazy: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands, sorted."""
        del ctx
        return sorted(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None when there is none of that name."""
        del ctx
        target = self._lazy.get(cmd_name)
        if target is None:
            return None
        module, _, attribute = target.partition(":")
        command = getattr(import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{target} is {command!r}, expected a click command")
        return command


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
def main() -> None:
    """See, explain and change how pods share GPUs.

    Reads nodes and pods from the API server and computes which pod holds what exactly as the scheduler extender does.

    Exit codes: 0 success, 1 the answer is no (not found, does not fit, an error was found), 2 wrong usage,
    3 the API server (or the extender) cannot be reached. migrate has its own.
    """


def kubectl_gpupack() -> None:
    """Entry point of the executable `kubectl-gpupack`."""
    main(prog_name="kubectl gpupack")
