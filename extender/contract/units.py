"""Converts between MiB and memory units, and keeps both apart from plain numbers by type."""

from typing import NewType

Units = NewType("Units", int)
"""GPU memory in units of the installation (1 GiB by default); what pods ask for and the kubelet counts."""

UnitMib = NewType("UnitMib", int)
"""Size of one unit in MiB."""

GpuUuid = NewType("GpuUuid", str)
"""NVML's UUID of one physical GPU, `GPU-...`, or MIG device, `MIG-...`; never an index."""

CORE_PERCENT = 100
"""Compute of one GPU in the unit of gpu-core."""

UNIT_CHOICES_MIB = (UnitMib(256), UnitMib(512), UnitMib(1024))
DEFAULT_UNIT_MIB = UnitMib(1024)


class ContractError(ValueError):
    """An annotation or setting breaks the contract; the message names the field, the value and what was expected."""


def check_unit_mib(value: int) -> UnitMib:
    """Return `value` as a unit size.

    Raises:
        ContractError: not one of `UNIT_CHOICES_MIB`.
    """
    if value not in UNIT_CHOICES_MIB:
        raise ContractError(f"memory unit of {value!r} MiB: expected one of {', '.join(map(str, UNIT_CHOICES_MIB))}")
    return UnitMib(value)


def units_in(memory_mib: int, unit_mib: UnitMib) -> Units:
    """Whole units that fit into `memory_mib`; the remainder of a GPU smaller than one unit is never given out."""
    return Units(max(0, memory_mib) // unit_mib)


def mib_of(units: Units, unit_mib: UnitMib) -> int:
    """Size of `units` in MiB."""
    return units * unit_mib
