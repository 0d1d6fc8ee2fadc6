"""Splits the memory in use on each GPU between the containers that were given some of it and everything else.

Memory counts as a container's when its process is in a pod that was given memory of that very GPU. Everything else is
"outside": processes outside of Kubernetes, pods without a request, pods on a GPU that is not theirs.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from device_plugin.gpus.readings import GpuProcess, GpuReading
from device_plugin.pods.pod import BoundPod, ContainerKey
from device_plugin.usage.accounting.usage import ContainerUse
from extender.contract.units import GpuUuid

MPS_SERVER_MIB = 64
"""An MPS server has a context of its own on each GPU, about 30 MiB; up to this much is not counted as outside use."""

NOT_LISTED = "the driver does not list its processes"
NO_MEMORY = "the driver does not say how much memory its processes use"
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ProcessOwner:
    """The pod and container that a process belongs to.

    Args:
        pod_uid: UID of its pod; empty outside of pods.
        container_id: the runtime's ID of its container; empty when it is in none.
        cgroup: its container's cgroup v2 folder from the root; empty when unknown.
        is_mps_server: whether it is the server of NVIDIA's multi-process service.
        container: name of the container, if that is known without its ID.
    """

    pod_uid: str = ""
    container_id: str = ""
    cgroup: str = ""
    is_mps_server: bool = False
    container: str = ""


class Locator(Protocol):
    """Looks up the owners of processes."""

    def obstacle(self) -> str:
        """Why no process can be looked up; empty when they can be."""
        ...

    def locate(self, pids: Iterable[int]) -> Mapping[int, ProcessOwner]:
        """The owner of each process; those that have ended are left out."""
        ...


@dataclass(frozen=True, slots=True)
class Measured:
    """The result of one measurement.

    Args:
        uses: what containers of pods with requests use, by container and GPU.
        outside_mib: memory in use that no pod was given, for every GPU where that could be measured.
        unknown: why it could not be measured, or not fully, for the other GPUs.
        guests: UIDs of the pods that run on a GPU of which they were given nothing.
    """

    uses: tuple[ContainerUse, ...] = ()
    outside_mib: Mapping[GpuUuid, int] = field(default_factory=dict)
    unknown: Mapping[GpuUuid, str] = field(default_factory=dict)
    guests: Mapping[GpuUuid, frozenset[str]] = field(default_factory=dict)


@dataclass(slots=True)
class _Sum:
    """What the processes of one container use on one GPU so far."""

    used_bytes: int = 0
    sm_ratio: float | None = None
    pids: set[int] = field(default_factory=set)
    cgroup: str = ""

    def add(self, process: GpuProcess, owner: ProcessOwner) -> None:
        self.used_bytes += process.used_bytes or 0
        self.pids.add(process.pid)
        self.cgroup = self.cgroup or owner.cgroup
        if process.sm_ratio is not None:
            self.sm_ratio = (self.sm_ratio or 0.0) + process.sm_ratio


def account(
    readings: Iterable[GpuReading], owners: Mapping[int, ProcessOwner], pods: Mapping[str, BoundPod], obstacle: str = ""
) -> Measured:
    """Attribute each process's memory to its owner; `obstacle` is why no process can be looked up, or empty."""
    names = {found: (pod, name) for pod in pods.values() for found, name in pod.container_ids.items()}
    sums: dict[tuple[ContainerKey, GpuUuid], _Sum] = {}
    outside: dict[GpuUuid, int] = {}
    unknown: dict[GpuUuid, str] = {}
    guests: dict[GpuUuid, frozenset[str]] = {}
    for reading in readings:
        if reading.processes is None or obstacle:
            unknown[reading.uuid] = obstacle or NOT_LISTED
            continue
        outside_bytes = 0
        foreign: set[str] = set()
        for process in reading.processes:
            owner = owners.get(process.pid)
            if owner is None:
                continue  # it has ended in the meantime
            pod, name = names.get(owner.container_id) or (pods.get(owner.pod_uid), owner.container)
            if pod is not None and process.used_bytes is None:
                unknown[reading.uuid] = NO_MEMORY
            if pod is not None and name:
                sums.setdefault((ContainerKey(pod.uid, name), reading.uuid), _Sum()).add(process, owner)
            if pod is None or not holds(pod, reading.uuid):
                allowance = MPS_SERVER_MIB * _MIB if owner.is_mps_server else 0
                outside_bytes += max(0, (process.used_bytes or 0) - allowance)
                foreign.add(pod.uid if pod is not None else owner.pod_uid)
        if found := frozenset(foreign - {""}):
            guests[reading.uuid] = found
        outside[reading.uuid] = _mib(outside_bytes)
    uses = [
        ContainerUse(key, gpu, _mib(each.used_bytes), frozenset(each.pids), each.cgroup, _at_most_one(each.sm_ratio))
        for (key, gpu), each in sorted(sums.items())
    ]
    return Measured(tuple(uses), outside, unknown, guests)


def holds(pod: BoundPod, uuid: GpuUuid) -> bool:
    """Whether the pod was given that GPU: as recorded, else as planned; if neither is known, any GPU counts."""
    if pod.ended:
        return False
    known = [gpus for need in pod.needs if (gpus := pod.allocated.get(need.name) or pod.plan.get(need.name))]
    return any(uuid in gpus for gpus in known) if known else bool(pod.needs)


def _mib(size_bytes: int) -> int:
    """MiB, rounded up."""
    return -(-size_bytes // _MIB)


def _at_most_one(ratio: float | None) -> float | None:
    """The sum capped at 1: the driver rounds each process's part up."""
    return None if ratio is None else min(1.0, ratio)
