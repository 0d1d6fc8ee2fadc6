"""From amounts of memory to what people read, in the way of Kubernetes: `8Gi`, `0.75Gi`."""

import re

from extender.contract.units import UnitMib

UNKNOWN = "-"
"""For what nobody measured; never 0."""

_NUMBER = re.compile(r"(\d+)")


def of_mib(size_mib: float | None) -> str:
    """`12.3Gi`; UNKNOWN of None."""
    return UNKNOWN if size_mib is None else f"{round(size_mib / 1024, 2):g}Gi"


def of_units(units: int, unit_mib: UnitMib) -> str:
    """So many units."""
    return of_mib(units * unit_mib)


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """A key that sorts `node-2` before `node-10`."""
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in _NUMBER.split(name) if part)


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 node`, `2 nodes`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listed(names: list[str], most: int = 3) -> str:
    """`a, b, c and 4 more`."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
