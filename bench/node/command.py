"""`python -m bench node`: what the device plugin costs on one node, and how fast it answers."""

import json
import os
import platform
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from bench.latency.percentiles import Delays
from bench.node.measure import Cost, Listening, measure_calls, measure_cost, measure_xids
from bench.node.stage import NodeLoad, staged
from bench.simulated.nvml.driver import BuildError
from extender.contract.units import UNIT_CHOICES_MIB, UnitMib
from extender.kubectl.finite import FiniteRange

_DEFAULTS = NodeLoad()


@click.command(name="node")
@click.option("--gpus", default=_DEFAULTS.gpus, type=click.IntRange(1, 16), help="GPUs of the node.")
@click.option("--memory-mib", default=_DEFAULTS.memory_mib, type=click.IntRange(1024), help="Memory of each in MiB.")
@click.option(
    "--pods", default=_DEFAULTS.pods, type=click.IntRange(1, 512), help="Pods, each with a share and a process."
)
@click.option(
    "--memory-unit-mib",
    type=click.Choice([str(choice) for choice in UNIT_CHOICES_MIB]),
    default=str(_DEFAULTS.unit_mib),
    help="Size of one unit of gpu-mem in MiB.",
)
@click.option("--seconds", default=120.0, type=FiniteRange(1), help="How long to measure its cost.")
@click.option("--calls", default=200, type=click.IntRange(1), help="How many Allocate calls to time.")
@click.option("--pause-s", default=0.25, type=FiniteRange(0), help="Seconds between two Allocate calls.")
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Also write the figures as JSON."
)
def command(  # noqa: PLR0917 - click passes options by name
    gpus: int,
    memory_mib: int,
    pods: int,
    memory_unit_mib: str,
    seconds: float,
    calls: int,
    pause_s: float,
    json_file: Path | None,
) -> None:
    """Measure the device plugin on one node.

    Measures its CPU, memory and NVML calls, Allocate, and the time from an XID to the kubelet.

    The shipped program reads GPUs through the real NVML binding from a simulated driver (a C compiler is needed), at
    its default intervals, with every pod's process working and a scrape every 15 s.
    """
    load = NodeLoad(gpus, memory_mib, pods, UnitMib(int(memory_unit_mib)))
    folder = Path(tempfile.mkdtemp(prefix="gpn"))
    try:
        with staged(load, folder) as stage:
            cost = measure_cost(stage, seconds)
            listening = Listening(stage)
            preferred, allocated = measure_calls(stage, listening, calls, pause_s)
            xids = measure_xids(stage, listening, 1.0)
            listening.close()
    except BuildError as error:
        raise click.ClickException(str(error)) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    click.echo(report(load, cost, preferred, allocated, xids))
    if json_file is not None:
        figures = {
            "command": f"python -m bench node {' '.join(sys.argv[2:])}".strip(),
            "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
            "load": {**asdict(load), "devices": load.gpus * load.units, "share_units": load.share},
            "cost": asdict(cost),
            "get_preferred_allocation": asdict(preferred),
            "allocate": asdict(allocated),
            "xid_to_list_and_watch": asdict(xids),
        }
        json_file.write_text(json.dumps(_rounded(figures), indent=2) + "\n", encoding="utf-8")


def report(load: NodeLoad, cost: Cost, preferred: Delays, allocated: Delays, xids: Delays) -> str:
    """The figures for people, as Markdown."""
    rows = [
        ("CPU, of one core", f"{cost.cpu_ratio:.2%}"),
        ("resident memory", f"{cost.rss_mib:.0f} MiB"),
        ("NVML calls", f"{cost.nvml_calls_per_second:.0f} a second"),
        ("writes on the Node", f"{cost.node_writes} in {cost.seconds:.0f} s"),
        ("containers measured", str(cost.containers_measured)),
        ("scrape", f"{cost.scrape_seconds * 1000:.0f} ms, {cost.scrape_bytes // 1024} KiB"),
        ("GetPreferredAllocation", _times(preferred)),
        ("Allocate", _times(allocated)),
        ("XID to ListAndWatch", _times(xids)),
    ]
    head = f"{load.gpus} GPUs, {load.gpus * load.units} devices, {load.pods} pods"
    return "\n".join([f"| {head} | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _times(found: Delays) -> str:
    return f"p50 {found.p50_s * 1000:.1f} ms, p99 {found.p99_s * 1000:.1f} ms, max {found.max_s * 1000:.1f} ms"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return round(value, 5) if isinstance(value, float) else value
