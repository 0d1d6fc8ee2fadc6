"""From `GET /v1/nodes` and counts to a picture for the terminal: a bar per GPU, coloured by workload."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from bench.demo.tally import Tally

COLOURS = {"inference": "green", "notebook": "cyan", "trial": "yellow", "training": "magenta"}
BAR_CELLS = 24
SIMULATED = "Everything here is simulated except gpupack itself: no Kubernetes, no GPU, no container runs."


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
        f"GPUs in use now: {_in_use(nodes)} (peak {tally.peak_shared}); "
        f"the same pods on whole GPUs: peak {tally.peak_whole}; saved so far {tally.saving:.0%}"
    )
    body = Group(table, Text(""), legend, Text(f"{clock_s:4.0f} s  {counts}"), Text(money, style="bold"))
    return Panel(body, title="gpupack on a simulated cluster", subtitle=SIMULATED)


def summary(tally: Tally, pods: int, refused: Sequence[str], seconds: float) -> str:
    """The closing lines; GPU time is that of the run, money is per hour of such a load."""

    def row(name: str, gpu_s: float, peak: int, usd_s: float) -> str:
        # Dollars per hour of such a load: dollar-seconds per hour and second of the run.
        rate = usd_s / seconds if seconds else 0.0
        return f"{name:11} {gpu_s:8.0f} GPU-seconds, at most {peak:3} GPUs, {rate:8.2f} $ per hour of such a load"

    lines = [
        f"{len(tally.pods)} of {pods} pods ran in {seconds:.0f} s on a simulated cluster (gpupack itself is real).",
        row("whole GPUs:", tally.whole_gpu_s, tally.peak_whole, tally.whole_usd_s),
        row("shared:", tally.shared_gpu_s, tally.peak_shared, tally.shared_usd_s),
        f"saved: {tally.saving:.0%}",
    ]
    if refused:
        lines.append(f"still waiting at the end: {', '.join(sorted(refused)[:8])}{' ...' if len(refused) > 8 else ''}")
    return "\n".join(lines)


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
    return model.removeprefix("NVIDIA ").removeprefix("Tesla ").split("-")[0].split()[0]


def _in_use(nodes: Sequence[Mapping[str, Any]]) -> int:
    return sum(1 for node in nodes for gpu in node["gpus"] if gpu["holders"])
