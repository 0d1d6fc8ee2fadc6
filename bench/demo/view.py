"""Draws the cluster in the terminal: a bar per GPU, coloured by workload."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from bench.demo.exclusive import Outcome
from bench.demo.tally import Tally
from device_plugin.gpus.mig.profiles import profile_in

COLOURS = {"inference": "green", "notebook": "cyan", "trial": "yellow", "training": "magenta"}
BAR_CELLS = 24
SIMULATED = "Everything here is simulated except gpupack itself: no Kubernetes, GPUs or containers."


def picture(
    nodes: Sequence[Mapping[str, Any]], pods: Mapping[str, int], tally: Tally, *, clock_s: float
) -> RenderableType:
    """One frame; `pods` counts pods by state."""
    table = Table(box=None, padding=(0, 1), expand=False)
    for column in ("node", "GPU", "memory", "free"):
        table.add_column(column, justify="right" if column == "free" else "left", no_wrap=True)
    for node in nodes:
        for gpu in node["gpus"]:
            first = gpu is node["gpus"][0]
            table.add_row(
                Text(node["name"] if first else "", style="bold"),
                f"{gpu['index']} {_short(gpu['model'])}",
                _bar(gpu),
                f"{gpu['free']}/{gpu['capacity']} GiB",
            )
    legend = Text("  ").join(Text(f"█ {name}", style=colour) for name, colour in COLOURS.items())
    counts = "  ".join(f"{state} {count}" for state, count in pods.items())
    money = (
        f"GPUs in use {tally.in_use}, serving {tally.parts} container shares; "
        f"${tally.outcome.usd_per_pod_hour:.2f} per pod-hour so far"
    )
    body = Group(table, Text(""), legend, Text(f"{clock_s:4.0f} s  {counts}"), Text(money, style="bold"))
    return Panel(body, title="gpupack on a simulated cluster", subtitle=SIMULATED)


def summary(shared: Outcome, whole: Outcome, pods: int, gpus: int, seconds: float) -> str:
    """The closing lines: the same pods on the same cluster, shared as they ran and on whole GPUs."""

    def row(name: str, outcome: Outcome) -> str:
        return (
            f"{name:11} {outcome.ran:4} of {pods} pods ran, at most {outcome.peak_gpus:2} of {gpus} GPUs in use, "
            f"${outcome.usd_s / seconds:.2f} an hour, ${outcome.usd_per_pod_hour:.2f} per pod-hour"
        )

    saved = 1 - shared.usd_per_pod_hour / whole.usd_per_pod_hour if whole.usd_per_pod_hour else 0.0
    return "\n".join(
        [
            f"{seconds:.0f} s of pods on a simulated cluster (gpupack itself is real):",
            row("whole GPUs:", whole),
            row("shared:", shared),
            f"saved per pod-hour: {saved:.0%}",
        ]
    )


def _bar(gpu: Mapping[str, Any]) -> Text:
    cells = max(4, round(BAR_CELLS * gpu["capacity"] / 80))
    units: Counter[str] = Counter()
    for holder in gpu["holders"]:
        units[holder["name"].partition("-")[0]] += holder["units"]
    bar = Text()
    used = 0
    for workload, colour in COLOURS.items():
        width = round(cells * units[workload] / max(1, gpu["capacity"]))
        width = min(cells - used, max(1, width)) if units[workload] else 0
        bar.append("█" * width, style=colour)
        used += width
    bar.append("░" * (cells - used), style="bright_black")
    return bar


def _short(model: str) -> str:
    """The family, and of a MIG device its profile: `A100 3g.20gb`."""
    family = model.removeprefix("NVIDIA ").removeprefix("Tesla ").split("-")[0].split()[0]
    return f"{family} {profile_in(model)}".rstrip()
