"""Sums up GPUs, and writes the tables of `top`: by GPU, node or model."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from extender.contract.mig import card_of
from extender.kubectl.cluster.view import ClusterView
from extender.kubectl.output.answer import Answer, Cell, Column, Line, Table, Tone
from extender.kubectl.output.gpu_rows import GpuRow, PodShare
from extender.kubectl.output.texts import UNKNOWN, counted, listed, natural, of_mib, of_units
from extender.scheduling.fitting.describing import describe_gpu
from extender.scheduling.nodes.node import GpuInfo


@dataclass(frozen=True, slots=True)
class Sum:
    """What some GPUs have together, in units; `used_mib` is None unless it is known of all of them.

    `gpus`, `idle` and `out` count physical GPUs; one that is split into MIG devices is idle when all of them are, and
    out of use when one of them is. `slices` counts MIG devices, `split` the GPUs that they are of.
    """

    nodes: int
    gpus: int
    capacity: int
    allocated: int
    free: int
    largest: int
    idle: int
    out: int
    used_mib: float | None
    slices: int = 0
    split: int = 0


def sum_of(rows: Iterable[GpuRow]) -> Sum:
    """What these GPUs have together."""
    gpus = [(row, row.gpu) for row in rows if row.gpu is not None]
    working = [gpu for row, gpu in gpus if not row.problem]
    cards: dict[tuple[str, str], list[tuple[GpuRow, GpuInfo]]] = {}
    for row, gpu in gpus:
        cards.setdefault((row.node, card_of(gpu.uuid, gpu.mig)), []).append((row, gpu))
    slices = sum(gpu.mig is not None for _, gpu in gpus)
    known = [row.used_mib for row, _ in gpus if row.used_mib is not None]
    return Sum(
        nodes=len({row.node for row, _ in gpus}),
        gpus=len(cards),
        capacity=sum(gpu.capacity for _, gpu in gpus),
        allocated=sum(gpu.used for _, gpu in gpus),
        free=sum(gpu.free for gpu in working),
        largest=max((gpu.free for gpu in working), default=0),
        idle=sum(all(gpu.idle and not row.problem for row, gpu in card) for card in cards.values()),
        out=sum(any(bool(row.problem) or not gpu.healthy for row, gpu in card) for card in cards.values()),
        used_mib=sum(known) if known and len(known) == len(gpus) else None,
        slices=slices,
        split=len(cards) - (len(gpus) - slices),
    )


MOST_GPU_NODES = 50
MOST_NODES = 500


class By(Enum):
    """What has a row."""

    AUTO = "auto"
    GPU = "gpu"
    NODE = "node"
    MODEL = "model"


class Sort(Enum):
    """Order of the rows."""

    NAME = "name"
    FREE = "free"
    ALLOCATED = "allocated"
    USED = "used"


_AMOUNTS: Mapping[Sort, Callable[[Sum], float]] = {
    Sort.FREE: lambda total: total.free,
    Sort.ALLOCATED: lambda total: total.allocated,
    Sort.USED: lambda total: total.used_mib or 0.0,
}


def top_answer(view: ClusterView, rows: Sequence[GpuRow], *, by: By, sort: Sort) -> Answer:
    """The answer; AUTO picks what is still readable for that many nodes."""
    nodes = len({row.node for row in rows})
    if by is By.AUTO:
        by = By.GPU if nodes <= MOST_GPU_NODES else By.NODE if nodes <= MOST_NODES else By.MODEL
    makers = {By.GPU: _by_gpu, By.NODE: _by_node, By.MODEL: _by_model}
    body: list[Table | Line] = [makers[by](view, rows, sort), Line(), Line(_summary(view, rows))]
    if by is not By.GPU:
        body.append(Line("--by gpu shows every GPU; --node and --model narrow it down", Tone.FAINT))
    body += _remarks(view, rows)
    return Answer(_document(view, rows), tuple(body))


def _by_gpu(view: ClusterView, rows: Sequence[GpuRow], sort: Sort) -> Table:
    unit_mib = view.unit_mib
    held = any(row.held_units is not None for row in rows)
    cores = any(row.gpu is not None and row.gpu.core_used_percent for row in rows)
    columns = (
        Column("node"),
        Column("gpu", right=True),
        Column("model"),
        Column("memory", right=True),
        Column("allocated", right=True),
        *((Column("held", right=True),) if held else ()),
        Column("used", right=True),
        Column("free", right=True),
        Column("core", right=True, wide=not cores),
        Column("health"),
        Column("rung"),
        Column("pods", narrow=True),
        Column("pods", wide=True),
        Column("outside", right=True, wide=True),
        Column("uuid", wide=True),
        Column("why used is unknown", wide=True),
    )
    made: list[tuple[str | Cell, ...]] = []
    for row in _sorted(rows, sort):
        gpu = row.gpu
        if gpu is None:
            blank = (UNKNOWN,) * (7 + held)
            made.append((row.node, *blank, _health(row), UNKNOWN, "", "", UNKNOWN, UNKNOWN, ""))
            continue
        made.append(
            (
                row.node,
                gpu.place,
                gpu.model,
                of_units(gpu.capacity, unit_mib),
                Cell(of_units(gpu.used, unit_mib), Tone.BAD if gpu.overcommitted else Tone.PLAIN),
                *((of_units(row.held_units or 0, unit_mib),) if held else ()),
                of_mib(row.used_mib),
                of_units(0 if row.problem else gpu.free, unit_mib),
                f"{gpu.core_used_percent}%",
                _health(row),
                gpu.enforcement or UNKNOWN,
                listed([_share(share, view) for share in row.shares]),
                ", ".join(_share(share, view) for share in row.shares),
                of_units(gpu.outside, unit_mib),
                gpu.uuid,
                row.used_problem,
            )
        )
    return Table(columns, tuple(made))


def _share(share: PodShare, view: ClusterView) -> str:
    state = "" if share.state == "bound" else f" ({share.state})"
    amount = "all of it" if share.whole else of_units(share.units, view.unit_mib)
    return f"{share.namespace}/{share.name} {amount}{state}"


def _health(row: GpuRow) -> Cell:
    gpu = row.gpu
    if row.problem:
        return Cell(row.problem, Tone.BAD)
    if row.cordoned:
        late = gpu is not None and gpu.healthy
        return Cell("cordoned (not yet seen by its device plugin)" if late else "cordoned", Tone.CAREFUL)
    if gpu is not None and not gpu.healthy:
        return Cell(f"unhealthy: {gpu.reason}" if gpu.reason else "unhealthy", Tone.BAD)
    return Cell("ok", Tone.GOOD)


_SUM_COLUMNS = (
    Column("memory", right=True),
    Column("allocated", right=True),
    Column("used", right=True),
    Column("free", right=True),
    Column("largest free", right=True),
    Column("idle", right=True),
    Column("out", right=True),
)


def _sum_cells(total: Sum, view: ClusterView) -> tuple[str | Cell, ...]:
    return (
        of_units(total.capacity, view.unit_mib),
        of_units(total.allocated, view.unit_mib),
        of_mib(total.used_mib),
        of_units(total.free, view.unit_mib),
        of_units(total.largest, view.unit_mib),
        str(total.idle),
        Cell(str(total.out), Tone.BAD if total.out else Tone.PLAIN),
    )


def _by_node(view: ClusterView, rows: Sequence[GpuRow], sort: Sort) -> Table:
    groups = _grouped(rows, lambda row: row.node, sort)
    columns = (Column("node"), Column("gpus", right=True), Column("model"), *_SUM_COLUMNS, Column("problem"))
    made = []
    for name, group in groups:
        models = sorted({row.gpu.model for row in group if row.gpu is not None})
        total = sum_of(group)
        made.append(
            (name, str(total.gpus), listed(models, 2), *_sum_cells(total, view), Cell(group[0].problem, Tone.BAD))
        )
    return Table(columns, tuple(made))


def _by_model(view: ClusterView, rows: Sequence[GpuRow], sort: Sort) -> Table:
    groups = _grouped(rows, lambda row: row.gpu.model if row.gpu is not None else "(no GPU seen)", sort)
    columns = (Column("model"), Column("nodes", right=True), Column("gpus", right=True), *_SUM_COLUMNS)
    made = []
    for model, group in groups:
        total = sum_of(group)
        nodes = len({row.node for row in group})
        made.append((model, f"{nodes:,}", f"{total.gpus:,}", *_sum_cells(total, view)))
    return Table(columns, tuple(made))


def _grouped(rows: Sequence[GpuRow], key: Callable[[GpuRow], str], sort: Sort) -> list[tuple[str, list[GpuRow]]]:
    groups: dict[str, list[GpuRow]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    names = sorted(groups, key=natural)
    if sort is not Sort.NAME:
        sums = {name: sum_of(group) for name, group in groups.items()}
        names.sort(key=lambda name: -_AMOUNTS[sort](sums[name]))
    return [(name, groups[name]) for name in names]


def _sorted(rows: Sequence[GpuRow], sort: Sort) -> Sequence[GpuRow]:
    if sort is Sort.NAME:
        return rows

    def amount(row: GpuRow) -> float:
        if row.gpu is None:
            return -1.0
        if sort is Sort.FREE:
            return 0 if row.problem else row.gpu.free
        return row.gpu.used if sort is Sort.ALLOCATED else row.used_mib or 0.0

    return sorted(rows, key=lambda row: -amount(row))


def _summary(view: ClusterView, rows: Sequence[GpuRow]) -> str:
    total = sum_of(rows)
    if not total.gpus:
        return "no GPUs"
    share = f" ({total.allocated / total.capacity:.0%})" if total.capacity else ""
    used = "" if total.used_mib is None else f", {of_mib(total.used_mib)} used"
    out = f", {total.out} out of use" if total.out else ""
    pending = sum(not pod.node and not pod.ended for pod in view.gpu_pods)
    waiting = f"; {counted(pending, 'pod')} pending" if pending else ""
    allocated, capacity, free, largest = (
        of_units(units, view.unit_mib) for units in (total.allocated, total.capacity, total.free, total.largest)
    )
    split = f" ({total.split} split into {counted(total.slices, 'MIG device')})" if total.slices else ""
    gpus = f"{counted(total.gpus, 'GPU')}{split}"
    return (
        f"{gpus} on {counted(total.nodes, 'node')}: {allocated} of {capacity} allocated{share}"
        f"{used}; {free} free (largest free on one GPU: {largest}), {total.idle} idle{out}{waiting}"
    )


def _remarks(view: ClusterView, rows: Sequence[GpuRow]) -> list[Line]:
    lines = []
    unplaced = sorted(
        f"{holder.namespace}/{holder.name}"
        for name in {row.node for row in rows}
        for holder in view.snapshot.nodes[name].holders
        if holder.footprint is None and holder.request is not None
    )
    if unplaced:
        text = f"charged to the emptiest GPU, since it is not known which one they use: {listed(unplaced)}"
        lines.append(Line(text, Tone.CAREFUL))
    lines += [Line(warning, Tone.CAREFUL) for warning in view.warnings]
    lines.append(Line(f"one unit is {view.unit_mib} MiB ({view.unit_from})", Tone.FAINT, wide=True))
    return lines


def _document(view: ClusterView, rows: Sequence[GpuRow]) -> dict[str, Any]:
    nodes: dict[str, dict[str, Any]] = {}
    for row in rows:
        node = nodes.setdefault(row.node, {"name": row.node, "problem": row.problem, "gpus": []})
        if row.gpu is None:
            continue
        described = describe_gpu(view.snapshot.nodes[row.node], row.gpu)
        # Only a running extender knows about holds; unknown is null, not 0.
        described["held"] = row.held_units
        node["gpus"].append(
            {
                **described,
                "cordoned": row.cordoned,
                "usedMib": None if row.used_mib is None else round(row.used_mib, 2),
                "usedUnknownBecause": row.used_problem,
            }
        )
    total = sum_of(rows)
    return {
        "unitMib": view.unit_mib,
        "unitFrom": view.unit_from,
        "nodes": list(nodes.values()),
        "summary": {
            "nodes": total.nodes,
            "gpus": total.gpus,
            "migDevices": total.slices,
            "capacity": total.capacity,
            "allocated": total.allocated,
            "free": total.free,
            "largestHole": total.largest,
            "idle": total.idle,
            "outOfUse": total.out,
            "usedMib": None if total.used_mib is None else round(total.used_mib, 2),
        },
        "warnings": list(view.warnings),
    }
