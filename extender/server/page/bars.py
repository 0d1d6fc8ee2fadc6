"""Lays out a node's card: a bar per GPU with a part per pod, in pixels, and the same in words."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

from extender.scheduling.nodes.node import GpuInfo, Hold, Holder
from extender.server.page.tiles import OUT, Tile, level_of, short_model

WIDTH = 240
COLOURS = 10
MAX_CHIPS = 12
_STATES = {Hold.ASSUMED: "held", Hold.HELD: "held", Hold.CLAIMED: "claimed"}
# kube-controller-manager's alphabet for generated names (k8s.io/apimachinery/pkg/util/rand).
_SUFFIX = re.compile(r"-([bcdfghjklmnpqrstvwxz2456789]{5}|[bcdf0-9]{6,10}|[0-9]+)$")


@dataclass(frozen=True, slots=True)
class Part:
    """One pod on one GPU, or memory in use outside; `colour` is a number of the palette, -1 for none."""

    label: str
    units: int
    x: int
    width: int
    colour: int
    state: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One GPU: `used` counts what pods were given and what is in use outside."""

    place: str
    uuid: str
    model: str
    capacity: int
    used: int
    free: int
    level: int
    trouble: str
    enforcement: str
    parts: tuple[Part, ...]

    @property
    def usable(self) -> bool:
        """Whether a pod can get of it."""
        return self.level != OUT


@dataclass(frozen=True, slots=True)
class Card:
    """One node; `unplaced` are pods whose GPUs are unknown."""

    tile: Tile
    bars: tuple[Bar, ...]
    unplaced: tuple[str, ...]
    one_model: str


class Palette:
    """A colour for each key, the same from page to page as long as few keys want the same one."""

    def __init__(self, keys: Iterable[str], *, by: str) -> None:
        self.by = by
        self.colours: dict[str, int] = {}
        for key in sorted(set(keys)):
            wished = crc32(key.encode()) % COLOURS
            taken = set(self.colours.values())
            free = [(wished + step) % COLOURS for step in range(COLOURS) if (wished + step) % COLOURS not in taken]
            self.colours[key] = free[0] if free else wished

    def of(self, holder: Holder) -> int:
        """The colour of a pod."""
        return self.colours.get(key_of(holder, self.by), 0)


def palette(tiles: Sequence[Tile], by: str) -> Palette:
    """Colours for the pods on these nodes; by namespace where there are several, unless `by` says otherwise."""
    holders = [holder for tile in tiles for holder in tile.node.holders if holder.request is not None]
    if not by:
        by = "namespace" if len({holder.namespace for holder in holders}) > 1 else "workload"
    return Palette((key_of(holder, by) for holder in holders), by=by)


def key_of(holder: Holder, by: str) -> str:
    """What the pod is coloured by."""
    return holder.namespace if by == "namespace" else workload_of(holder.name)


def workload_of(pod: str) -> str:
    """A pod's name without what controllers append: the workload that it is of."""
    for _ in range(3):
        shorter = _SUFFIX.sub("", pod)
        if shorter == pod or not shorter:
            return pod
        pod = shorter
    return pod


def card(tile: Tile, colours: Palette) -> Card:
    """A node in full."""
    node = tile.node
    models = {gpu.model for gpu in node.gpus}
    unplaced = [
        f"{holder.namespace}/{holder.name}"
        for holder in node.holders
        if holder.footprint is None and holder.request is not None
    ]
    bars = tuple(_bar(gpu, node.holders, colours, serving=not tile.problem) for gpu in node.gpus)
    return Card(tile, bars, tuple(unplaced), short_model(models.pop()) if len(models) == 1 else "")


def _bar(gpu: GpuInfo, holders: Iterable[Holder], colours: Palette, *, serving: bool) -> Bar:
    level = level_of(gpu, serving=serving)
    wanted = list(_shares(gpu, holders, colours))
    # What is charged without a name: pods whose GPUs are unknown.
    claimed = [share for share in wanted if share[3] == "claimed"]
    wanted = [share for share in wanted if share[3] != "claimed"]
    nameless = gpu.used - sum(units for _, units, _, _ in wanted)
    if nameless > 0:
        wanted.append(("pods on unknown GPUs", nameless, -1, "unknown"))
    if gpu.outside:
        wanted.append(("in use outside of Kubernetes' account", gpu.outside, -1, "outside"))
    trouble = "" if gpu.healthy else gpu.reason or "unhealthy"
    return Bar(
        place=gpu.place,
        uuid=gpu.uuid,
        model=short_model(gpu.model),
        capacity=gpu.capacity,
        used=gpu.used + gpu.outside,
        free=gpu.free,
        level=level,
        trouble=trouble,
        enforcement=gpu.enforcement,
        parts=_laid_out([*wanted, *claimed], gpu.capacity),
    )


def _shares(gpu: GpuInfo, holders: Iterable[Holder], colours: Palette) -> Iterable[tuple[str, int, int, str]]:
    for holder in holders:
        if holder.footprint is None:
            continue
        whole = gpu.uuid in holder.footprint.whole
        units = gpu.capacity if whole else holder.footprint.shares.get(gpu.uuid, 0)
        if units:
            state = "whole" if whole else "bound"
            state = _STATES.get(holder.hold, state)
            yield f"{holder.namespace}/{holder.name}", units, colours.of(holder), state


def _laid_out(wanted: Sequence[tuple[str, int, int, str]], capacity: int) -> tuple[Part, ...]:
    most = max(capacity, sum(units for _, units, _, state in wanted if state != "claimed"), 1)
    scale = WIDTH / most
    parts: list[Part] = []
    done = 0
    for label, units, colour, state in wanted:
        # What is claimed may be in use by the pods that are evicted: it is drawn where nobody has anything.
        drawn = min(units, most - done) if state == "claimed" else units
        start, end = round(done * scale), round((done + drawn) * scale)
        done += drawn
        # A pixel between neighbours; the smallest share still shows.
        parts.append(Part(label, units, start, max(1, end - start - 1), colour, state))
    return tuple(parts)


def legend(colours: Palette) -> Mapping[str, int]:
    """Keys and their colours, by name."""
    return dict(sorted(colours.colours.items()))
