"""Measures pods per second of each contender, round by round on one control plane."""

import sys
import time
from pathlib import Path

import click

from bench.latency.load import Load
from bench.scheduler.cluster import create_nodes, create_pods, delete_pods, watching
from bench.scheduler.contenders import CONTENDERS, Setup, running
from tests.e2e.binaries import find_binaries
from tests.e2e.controlplane import ControlPlane

_BOUND_TIMEOUT_S = 240.0
_SETTLE_S = 1.0
WARM_UP_SHARE = 0.1
"""Part of a burst that passes before its pods are timed: the scheduler fills its caches meanwhile."""


def measure(
    load: Load, *, pods: int, rounds: int, percentage: int, only: list[str] | None = None
) -> dict[str, list[float]]:
    """Pods per second of every contender, one figure a round.

    Raises:
        click.ClickException: there are no Kubernetes programs, or an unknown contender is asked for.
        TimeoutError: pods were not bound.
    """
    binaries = find_binaries()
    if isinstance(binaries, str):
        raise click.ClickException(binaries)
    known = {contender.name: contender for contender in CONTENDERS}
    unknown = [name for name in only or () if name not in known]
    if unknown:
        raise click.ClickException(f"contender {unknown[0]!r}: expected some of {', '.join(known)}")
    chosen = [known[name] for name in only] if only else list(CONTENDERS)
    rates: dict[str, list[float]] = {contender.name: [] for contender in chosen}
    with ControlPlane(binaries) as plane:
        create_nodes(plane.api, load)
        for number in range(rounds):
            # Alternating order: a machine that slows down under load must not favour the first contenders.
            for contender in chosen if number % 2 == 0 else reversed(chosen):
                rate = _run(plane, contender, f"r{number}-{contender.name}", pods, percentage)
                rates[contender.name].append(round(rate, 1))
                click.echo(
                    f"{load.nodes} nodes, round {number + 1}: {contender.name} {rate:.1f} pods/s", file=sys.stderr
                )
    return rates


def _run(plane: ControlPlane, contender: Setup, prefix: str, pods: int, percentage: int) -> float:
    folder = plane.folder / prefix
    folder.mkdir()
    with running(contender, Path(plane.admin_kubeconfig), folder, percentage) as configuration:
        create_pods(plane.api, prefix, pods)
        time.sleep(_SETTLE_S)
        try:
            with watching(plane) as binds:
                plane.start_scheduler(configuration)
                binds.wait(pods, _BOUND_TIMEOUT_S)
                times = sorted(binds.seen_s.values())
        finally:
            plane.stop_scheduler()
            delete_pods(plane.api)
    first = int(len(times) * WARM_UP_SHARE)
    return (len(times) - 1 - first) / (times[-1] - times[first])
