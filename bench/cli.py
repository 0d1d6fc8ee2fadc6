"""Runs the benchmarks; a subcommand's module is imported only when that subcommand is used."""

from collections.abc import Mapping

import click

from extender.kubectl.cli import LazyGroup

COMMANDS: Mapping[str, str] = {
    "demo": "bench.demo.command:command",
    "advice": "bench.trace.reports:advice",
    "cost": "bench.trace.reports:cost",
    "gpu-day": "bench.gpu_day.command:command",
    "latency": "bench.latency.command:command",
    "node": "bench.node.command:command",
    "live": "bench.replay.live:command",
    "replay": "bench.replay.command:command",
    "scheduler": "bench.scheduler.command:command",
    "trace": "bench.trace.command:command",
}
"""Subcommand to `module:attribute` of its click command."""


@click.group(cls=LazyGroup, lazy=COMMANDS)
def main() -> None:
    """Measure gpupack's packing, latency and cost, with the shipped extender and device plugin."""
