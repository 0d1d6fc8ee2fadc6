"""The benchmarks' command line: a group that imports a subcommand only when it is asked for."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

COMMANDS: Mapping[str, str] = {
    "demo": "bench.demo.command:command",
    "advice": "bench.trace.reports:advice",
    "cost": "bench.trace.reports:cost",
    "latency": "bench.latency.command:command",
    "node": "bench.node.command:command",
    "live": "bench.replay.live:command",
    "replay": "bench.replay.command:command",
    "scheduler": "bench.scheduler.command:command",
    "trace": "bench.trace.command:command",
}
"""Subcommand to `module:attribute` of its click command."""


class LazyGroup(click.Group):
    """A group that imports a subcommand's module when the subcommand is run or its help is shown.

    Args:
        lazy: subcommand to `module:attribute` of its click command.
    """

    def __init__(self, *args: Any, lazy: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all subcommands, sorted."""
        return sorted({*super().list_commands(ctx), *self._lazy})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The subcommand, imported now; None when there is none of that name."""
        target = self._lazy.get(cmd_name)
        if target is None:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = target.partition(":")
        command = getattr(import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{target} is {command!r}, expected a click command")
        return command


@click.group(cls=LazyGroup, lazy=COMMANDS)
def main() -> None:
    """Measure gpupack's packing, latency and cost, with the shipped extender and device plugin."""
