"""Says why what the driver tells of a GPU cannot be true, so that one odd GPU is left out and not the whole node."""

import re

from device_plugin.gpus.answers import MemorySize

LONGEST_UUID = 58
"""Characters; with the number of a unit behind it, a device ID has at most the kubelet's 63."""

LARGEST_BYTES = 2 << 40
"""Memory of one GPU that is believed: seven times as much as the largest that there is (288 GB)."""

LARGEST_NUMA_NODE = 1023
"""The kernel's limit (CONFIG_NODES_SHIFT is at most 10)."""

_UUID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def odd_uuid(uuid: str) -> str:
    """Why that is no UUID that a GPU can be addressed by; empty when it is one."""
    if not uuid:
        return "its UUID is empty"
    if len(uuid) > LONGEST_UUID:
        return f"its UUID has {len(uuid)} characters, expected at most {LONGEST_UUID}"
    return "" if _UUID.fullmatch(uuid) else f"its UUID {uuid!r} has more than letters, digits, '.', '_' and '-'"


def odd_model(model: str) -> str:
    """Why that is no product name; empty when it is one."""
    return "" if model.strip() and model.isprintable() else f"its product name is {model!r}"


def odd_memory(size: MemorySize) -> str:
    """Why a GPU cannot have that memory; empty when it can."""
    if not 0 < size.total <= LARGEST_BYTES:
        return f"its memory cannot be right: {size.total} bytes"
    if not 0 <= size.reserved < size.total:
        return f"its memory cannot be right: {size.reserved} of {size.total} bytes are reserved"
    return ""


def numa_node_of(number: int | None) -> int | None:
    """A NUMA node as a driver or the kernel gives it; None when that cannot be one, as the kernel's -1."""
    return number if number is not None and 0 <= number <= LARGEST_NUMA_NODE else None
