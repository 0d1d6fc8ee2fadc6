"""Advises for each workload which share size to ask for, from what its pods have used at most.

Sizes are judged by the GPUs that the whole demand needs at least (`extender.capacity.sizes.gpus_needed`, the
cutting-stock bound), with the workload at that size and the others as they are, or as was advised before. Those tried
are the size asked for, the least that will do, those of which k fill a GPU, and the one that price-fit's prices of the
other workloads speak for: k of a size leave a hole that is worth U, so one costs (capacity - U(capacity - k x size)) /
k, for the best k. Unknown use gives no advice.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil

from extender.capacity.sizes import gpus_needed
from extender.contract.units import UnitMib
from extender.scheduling.learning.pricing import hole_values, size_prices

MOST_FILLING = 4
"""Sizes that fill a GPU which are tried, the largest."""

_DUST = 1e-6


@dataclass(frozen=True, slots=True)
class Use:
    """What one pod holds of one GPU.

    Args:
        namespace: the pod's.
        workload: what the pod belongs to, for people.
        pod: its name.
        units: its share; all of the GPU where it holds it whole.
        whole: whether it does.
        capacity: units of the GPU.
        peak_mib: the most that it has used there; None when unknown.
        part_of_card: the part of a physical GPU that the GPU is: 1, or less for a MIG device.
    """

    namespace: str
    workload: str
    pod: str
    units: int
    whole: bool
    capacity: int
    peak_mib: float | None = None
    part_of_card: float = 1.0


@dataclass(frozen=True, slots=True)
class SizeAdvice:
    """One workload's shares of one size.

    Args:
        namespace: of the workload.
        workload: its name.
        pods: how many of its pods are running.
        gpus: on how many GPUs together.
        known: of these, on how many the peak is known.
        units: what they ask for on each GPU.
        whole: whether they hold it whole.
        capacity: units of the GPU that most of them are on.
        peak_mib: the most that one has used of a GPU; None when unknown.
        least_units: what that takes, with the headroom where it was within the share; None when unknown.
        better_units: what they should ask for; None when what they ask for is right, or that is unknown.
        gpus_saved: GPUs that all pods together would need less with it, when the advice to those who have more is
            taken, too; negative where more is needed.
    """

    namespace: str
    workload: str
    pods: int
    gpus: int
    known: int
    units: int
    whole: bool
    capacity: int
    peak_mib: float | None = None
    least_units: int | None = None
    better_units: int | None = None
    gpus_saved: float = 0.0

    @property
    def verdict(self) -> str:
        """In a word."""
        if self.peak_mib is None:
            return "unknown"
        if self.better_units is None:
            return "good"
        return "too small" if self.better_units > self.units else "too large"


@dataclass(frozen=True, slots=True)
class SizingAdvice:
    """All workloads, what saves most first; GPUs needed at least, as it is and with every advice taken."""

    workloads: tuple[SizeAdvice, ...] = ()
    needed_gpus: float = 0.0
    needed_gpus_after: float = 0.0


def advise_sizes(uses: Iterable[Use], unit_mib: UnitMib, *, headroom: float = 0.1) -> SizingAdvice:
    """Advice for every workload.

    Args:
        uses: of all running pods, so that what packs well is known; those without a known peak count as they are.
        unit_mib: memory unit of the installation.
        headroom: what to leave above the peak, as a fraction of it.
    """
    all_uses = list(uses)
    demand, parts = _demand(all_uses), _parts(all_uses)
    groups: dict[tuple[str, str, int, bool], list[Use]] = {}
    for use in all_uses:
        # Whole GPUs of several sizes are one wish.
        groups.setdefault((use.namespace, use.workload, 0 if use.whole else use.units, use.whole), []).append(use)
    after = {capacity: dict(sizes) for capacity, sizes in demand.items()}
    found: list[SizeAdvice] = []
    # One after the other, each with what was advised before: pods that all wait for the same company waste more.
    for group in sorted(groups.values(), key=lambda group: _turn(group, unit_mib)):
        one = _advice(group, after, parts, unit_mib, headroom)
        found.append(one)
        if one.better_units is not None:
            _shift(after, group, one.better_units)
    return SizingAdvice(
        workloads=tuple(sorted(found, key=lambda one: (-one.gpus_saved, one.namespace, one.workload, one.units))),
        needed_gpus=_needed(demand, parts),
        needed_gpus_after=_needed(after, parts),
    )


class _Worth:
    """What sizes cost the others on GPUs of one capacity."""

    def __init__(self, demand: Mapping[int, float], capacity: int) -> None:
        self._capacity = capacity
        prices = size_prices(demand, capacity)
        # Without other workloads nothing fills the holes.
        self._holes = hole_values(prices, capacity) if prices else (0.0,) * capacity + (float(capacity),)

    def cost(self, size: int) -> float:
        """Units of a GPU that one of `size` takes up, in the best company."""
        if size >= self._capacity:
            return float(self._capacity)
        most = self._capacity // size
        return min((self._capacity - self._holes[self._capacity - k * size]) / k for k in range(1, most + 1))


def _turn(group: Sequence[Use], unit_mib: UnitMib) -> tuple[bool, int, str, str, int]:
    """Workloads that have to ask for more come first, then the largest."""
    first = group[0]
    enough = all(use.peak_mib is None or use.peak_mib <= use.units * unit_mib for use in group)
    return (enough, -sum(use.units for use in group), first.namespace, first.workload, first.units)


def _advice(
    group: Sequence[Use],
    demand: Mapping[int, Mapping[int, float]],
    parts: Mapping[int, float],
    unit_mib: UnitMib,
    headroom: float,
) -> SizeAdvice:
    first = group[0]
    capacity = Counter(use.capacity for use in group).most_common(1)[0][0]
    units = capacity if first.whole else first.units
    peaks = [use.peak_mib for use in group if use.peak_mib is not None]
    base = SizeAdvice(
        namespace=first.namespace,
        workload=first.workload,
        pods=len({use.pod for use in group}),
        gpus=len(group),
        known=len(peaks),
        units=units,
        whole=first.whole,
        capacity=capacity,
    )
    if not peaks:
        return base
    peak_mib = max(peaks)
    least = min(capacity, max(1, ceil(peak_mib * (1.0 + headroom) / unit_mib)))
    if peak_mib <= units * unit_mib:
        least = min(least, units)  # it has been enough: headroom is no reason to ask for more
    # Without its own pods: they would change with it, so that the old size is no company for the new one.
    others = dict(demand[capacity])
    others[units] -= sum(use.capacity == capacity for use in group)
    sizes = [units, least] if least > units else _candidates(units, least, capacity, _Worth(others, capacity))
    needed = {size: _needed_with(demand, parts, group, size) for size in sizes}
    needed[units] = _needed({use.capacity: demand[use.capacity] for use in group}, parts)
    better = _best(units, least, capacity, needed)
    saved = 0.0 if better is None else needed[units] - needed[better]
    return replace(base, peak_mib=peak_mib, least_units=least, better_units=better, gpus_saved=saved)


def _candidates(units: int, least: int, capacity: int, worth: _Worth) -> list[int]:
    """The sizes from `least` to `units` that are worth a try."""
    cheapest = min(range(least, units + 1), key=lambda size: (round(worth.cost(size), 6), -size))
    filling = {capacity // copies for copies in range(1, capacity // least + 1)}
    return [least, cheapest, *sorted((size for size in filling if least <= size <= units), reverse=True)[:MOST_FILLING]]


def _best(units: int, least: int, capacity: int, needed: Mapping[int, float]) -> int | None:
    """The largest of the sizes with which least is needed; None where `units` is that already."""
    if least > units:
        return least if units < capacity else None
    fewest = min(needed.values())
    best = max(size for size, gpus in needed.items() if gpus <= fewest + _DUST)
    return None if best == units else best


def _needed_with(
    demand: Mapping[int, Mapping[int, float]], parts: Mapping[int, float], group: Sequence[Use], size: int
) -> float:
    """GPUs, of the sizes that the group is on, that are needed at least when it asks for `size` units."""
    after = {use.capacity: dict(demand[use.capacity]) for use in group}
    _shift(after, group, size)
    return _needed(after, parts)


def _demand(uses: Iterable[Use]) -> dict[int, dict[int, float]]:
    """GPUs asked for per size, for each capacity of GPU."""
    demand: dict[int, dict[int, float]] = {}
    for use in uses:
        sizes = demand.setdefault(use.capacity, {})
        size = use.capacity if use.whole else use.units
        sizes[size] = sizes.get(size, 0.0) + 1.0
    return demand


def _shift(demand: Mapping[int, dict[int, float]], group: Iterable[Use], better: int) -> None:
    """Let the pods of `group` ask for `better` units."""
    for use in group:
        sizes = demand[use.capacity]
        size = use.capacity if use.whole else use.units
        sizes[size] -= 1.0
        target = min(better, use.capacity)
        sizes[target] = sizes.get(target, 0.0) + 1.0


def _parts(uses: Iterable[Use]) -> dict[int, float]:
    """For each capacity of GPU the part of a physical one that such a GPU is, on average."""
    found: dict[int, list[float]] = {}
    for use in uses:
        found.setdefault(use.capacity, []).append(use.part_of_card)
    return {capacity: sum(parts) / len(parts) for capacity, parts in found.items()}


def _needed(demand: Mapping[int, Mapping[int, float]], parts: Mapping[int, float]) -> float:
    return sum(parts[capacity] * gpus_needed(sizes, capacity) for capacity, sizes in demand.items())
