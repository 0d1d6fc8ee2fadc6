"""Judges memory that is in use on a GPU but that no process accounts for whose owner is known.

The driver's sum for the GPU may hold more than its processes do: of processes that it does not list, and of those that
cannot be looked up because they are in another PID namespace. Such memory is in use, so it must not count as free.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from device_plugin.gpus.readings import GpuReading
from extender.contract.units import GpuUuid

TOLERANCE_MIB = 256
PER_PROCESS_MIB = 64
MOST_TOLERANCE_MIB = 1024
"""What the driver may use for itself on a GPU, and for each process beyond what it lists; more is somebody's."""

RESERVED_MIB = 1024
"""Drivers before r510 count what they reserve as used and do not say how much that is; it is less than this."""

LASTING_S = 30.0
MEASUREMENTS = 3

_MIB = 1024 * 1024


def unseen_mib(reading: GpuReading, known_bytes: int, hidden_bytes: int, own_mib: int) -> int:
    """MiB in use on a GPU that belong to no known process, and cannot be the pods' own.

    Args:
        reading: of the GPU.
        known_bytes: what the processes use whose owners are known.
        hidden_bytes: what the listed processes use that cannot be looked up.
        own_mib: what pods with memory of the GPU may be using without being seen: what is left of their shares where
            the driver does not say what their processes use.
    """
    hidden_mib = -(-hidden_bytes // _MIB)
    beyond_mib = max(0, hidden_mib - own_mib)
    if reading.used_bytes is None:
        return beyond_mib
    left_mib = own_mib - (hidden_mib - beyond_mib)
    unlisted_mib = -(-(reading.used_bytes - known_bytes - hidden_bytes) // _MIB) - left_mib
    return beyond_mib + (unlisted_mib if unlisted_mib > tolerance_mib(reading) else 0)


def tolerance_mib(reading: GpuReading) -> int:
    """MiB that may be in use on a GPU beyond what its processes use."""
    size_mib = MOST_TOLERANCE_MIB
    if reading.processes is not None:
        size_mib = min(size_mib, TOLERANCE_MIB + PER_PROCESS_MIB * len(reading.processes))
    return size_mib + (RESERVED_MIB if reading.reserved_bytes is None else 0)


@dataclass(slots=True)
class UnseenRecord:
    """What was unseen on each GPU in the newest measurements.

    The sum and the list of processes are two answers of the driver, and a process may begin or end between them: what
    counts is the least of some measurements.
    """

    _seen: dict[GpuUuid, deque[int]] = field(default_factory=dict)

    def note(self, sizes_mib: Mapping[GpuUuid, int]) -> dict[GpuUuid, int]:
        """MiB of each GPU that count, after one more measurement."""
        for uuid, size_mib in sizes_mib.items():
            self._seen.setdefault(uuid, deque(maxlen=MEASUREMENTS)).append(size_mib)
        return {uuid: min(self._seen[uuid]) for uuid in sizes_mib}


Key = TypeVar("Key")


@dataclass(slots=True)
class LastingRecord(Generic[Key]):
    """Since when each of some things has been the case without a pause; times come from the caller."""

    _since_s: dict[Key, float] = field(default_factory=dict)

    def note(self, found: Iterable[Key], now_s: float) -> frozenset[Key]:
        """Those that have been the case for long; what is not found is forgotten."""
        self._since_s = {key: self._since_s.get(key, now_s) for key in found}
        return frozenset(key for key, since_s in self._since_s.items() if now_s - since_s >= LASTING_S)
