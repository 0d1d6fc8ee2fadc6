"""Writes amounts of memory, counts, names and requests as people read them: `8Gi`, `2 nodes`, `a, b and 3 more`."""

import re
from collections.abc import Iterable

from extender.contract.quantity import parse_digits
from extender.contract.units import UnitMib
from extender.kubectl.cluster.view import ClusterView
from extender.scheduling.pods.request import PodRequest

UNKNOWN = "-"
"""For what was not measured; never 0."""

_TIB_FROM_GIB = 10 * 1024
_NUMBER = re.compile(r"(\d+)")


def of_mib(size_mib: float | None) -> str:
    """`12.3Gi`, from 10,240 Gi on `12.5Ti`; UNKNOWN of None."""
    if size_mib is None:
        return UNKNOWN
    size_gib = size_mib / 1024
    if size_gib >= _TIB_FROM_GIB:
        return f"{size_gib / 1024:,.1f}Ti"
    return f"{size_gib:.2f}".rstrip("0").rstrip(".") + "Gi"


def of_units(units: int, unit_mib: UnitMib) -> str:
    """So many units."""
    return of_mib(units * unit_mib)


def of_usd(amount: float | None) -> str:
    """`1,234.50`; UNKNOWN of None."""
    return UNKNOWN if amount is None else f"{amount:,.2f}"


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """A key that sorts `node-2` before `node-10`, and numbers before letters."""
    parts = [(parse_digits(part), part) for part in _NUMBER.split(name) if part]
    return tuple((1, 0, part) if number is None else (0, number, part) for number, part in parts)


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 node`, `2 nodes`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listed(names: list[str], most: int = 3) -> str:
    """`a, b, c and 4 more`."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def named(names: Iterable[str]) -> str:
    """The first five in alphabetical order, and how many more."""
    return listed(sorted(names), 5)


def request_text(request: PodRequest | None, view: ClusterView, *, core: str = "{}%") -> str:
    """`8Gi`, `2 x 8Gi`, `2 GPUs`, `8Gi + 4Gi`; UNKNOWN of an invalid request. `core` writes the percent of compute."""
    if request is None:
        return UNKNOWN
    parts = []
    for demand in request.demands:
        if demand.whole:
            parts.append(counted(demand.gpus, "GPU"))
            continue
        compute = f" {core.format(demand.core_percent)}" if demand.core_percent else ""
        many = f"{demand.gpus} x " if demand.gpus > 1 else ""
        parts.append(f"{many}{of_units(demand.units, view.unit_mib)}{compute}")
    return " + ".join(parts)
