"""Describes what containers use of GPUs, as values: the seam between measuring and enforcing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from device_plugin.pods.pod import ContainerKey
from extender.contract.units import GpuUuid


@dataclass(frozen=True, slots=True)
class ContainerUse:
    """What one container uses of one GPU.

    Args:
        key: which container.
        gpu: which GPU.
        used_mib: memory of all its processes there.
        pids: its processes there, in the node's numbering.
        cgroup: the container's cgroup as /proc/PID/cgroup names it, from the root; empty when unknown.
        sm_ratio: share of the GPU's multiprocessor time that it took recently, 0 to 1; None when not measured.
    """

    key: ContainerKey
    gpu: GpuUuid
    used_mib: int
    pids: frozenset[int] = frozenset()
    cgroup: str = ""
    sm_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What containers use at one moment.

    Args:
        uses: what every container uses of each GPU that it is on.
        unknown: why a GPU cannot be measured.
        problem: why nothing at all was measured yet; empty when something was.
    """

    uses: tuple[ContainerUse, ...] = ()
    unknown: Mapping[GpuUuid, str] = field(default_factory=dict)
    problem: str = ""


class UsageReader(Protocol):
    """Measures."""

    def usage(self) -> Usage:
        """What every container uses now; a GPU that cannot be measured is `unknown`, never 0."""
        ...
