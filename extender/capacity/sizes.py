"""Finds share sizes whose slightly smaller version would save GPUs.

The GPUs that the demand needs at least are the optimum of the cutting-stock problem whose duals are price-fit's prices:
what all pods pay together. Each advice solves it again with the smaller size, so what is saved is exact for that bound.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from extender.scheduling.learning.pricing import size_prices


@dataclass(frozen=True, slots=True)
class Advice:
    """One share size, in units of a GPU of `capacity`.

    Args:
        size: what pods ask for now.
        pods: how many do.
        price: what one of them costs the others, in units.
        smaller: size that would save most GPUs; None when none within reach saves any.
        gpus_saved: GPUs that the whole demand would need less.
        gpus_asked_less: the part of it that is merely asked for less; the rest is waste that goes away.
    """

    size: int
    pods: int
    price: float
    smaller: int | None = None
    gpus_saved: float = 0.0
    gpus_asked_less: float = 0.0


def gpus_needed(demand: Mapping[int, float], capacity: int) -> float:
    """GPUs of `capacity` that hold the demand (count per size) at least."""
    prices = size_prices(demand, capacity)
    return sum(price * demand.get(size, 0.0) for size, price in prices.items()) / capacity


def advise(demand: Mapping[int, float], capacity: int, *, reach: float = 0.1, least_gpus: float = 1.0) -> list[Advice]:
    """Advice for every share size, what saves most first.

    Args:
        demand: GPUs asked for per size; `capacity` itself stands for whole GPUs.
        capacity: units of a GPU.
        reach: how much smaller a size may become, as a fraction of it.
        least_gpus: what a smaller size must save to be worth a word.
    """
    prices = size_prices(demand, capacity)
    needed = gpus_needed(demand, capacity)
    sums = _sums(demand, capacity)
    found: list[Advice] = []
    for size, price in prices.items():
        if size == capacity:
            continue
        pods = demand[size]
        best = Advice(size, round(pods), price)
        # Only sizes that leave room for what did not fit before, or that fit once more, can change a pattern.
        candidates = {capacity - room for room in sums} | {capacity // copies for copies in range(2, capacity + 1)}
        for smaller in sorted((each for each in candidates if each < size), reverse=True):
            if smaller < max(1, size * (1.0 - reach)):
                break
            moved = {other: count for other, count in demand.items() if other != size}
            moved[smaller] = moved.get(smaller, 0.0) + pods
            saved = needed - gpus_needed(moved, capacity)
            less = pods * (size - smaller) / capacity
            # The first cut that saves counts; a deeper one must free more than it merely takes away.
            if saved >= least_gpus and saved - less > best.gpus_saved - best.gpus_asked_less + 1e-6:
                best = Advice(size, round(pods), price, smaller, saved, less)
        found.append(best)
    return sorted(found, key=lambda advice: (-advice.gpus_saved, advice.size))


def applied(demand: Mapping[int, float], advice: Iterable[Advice]) -> dict[int, float]:
    """The demand when every advice is taken."""
    smaller = {one.size: one.smaller for one in advice if one.smaller is not None}
    moved: dict[int, float] = {}
    for size, count in demand.items():
        target = smaller.get(size, size)
        moved[target] = moved.get(target, 0.0) + count
    return moved


def _sums(demand: Mapping[int, float], capacity: int) -> set[int]:
    """Every sum of sizes that fits on a GPU."""
    reached = {0}
    for size in demand:
        for start in sorted(reached):
            reached.update(range(start + size, capacity + 1, size))
    return reached - {0}
