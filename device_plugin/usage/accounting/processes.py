"""Splits the memory in use on each GPU between the containers that were given some of it and everything else.

Memory counts as a container's when its process is in a pod that was given memory of that very GPU. Everything else is
"outside": processes outside of Kubernetes, pods without a request, pods on a GPU that is not theirs, and what is in use
although no process is seen to use it (`unseen`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from device_plugin.gpus.readings import GpuProcess, GpuReading
from device_plugin.pods.holdings import peak
from device_plugin.pods.pod import BoundPod, ContainerKey, ContainerNeed
from device_plugin.usage.accounting.overuse import BOUNDLESS_MIB
from device_plugin.usage.accounting.unseen import tolerance_mib, unseen_mib
from device_plugin.usage.accounting.usage import ContainerUse
from extender.contract.units import DEFAULT_UNIT_MIB, GpuUuid, UnitMib

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
        outside_mib: memory of processes that no pod was given, for every GPU where that could be measured.
        unseen_mib: memory in use besides, by nobody who is known; for every GPU that says how much of it is in use.
        unknown: why it could not be measured, or not fully, for the other GPUs.
        guests: UIDs of the pods that run on a GPU of which they were given nothing.
        strays: UIDs of the pods with memory of a GPU and a process there that is in none of their containers.
        unlisted: GPUs of which pods have memory and on which memory is in use, but no process is listed.
    """

    uses: tuple[ContainerUse, ...] = ()
    outside_mib: Mapping[GpuUuid, int] = field(default_factory=dict)
    unseen_mib: Mapping[GpuUuid, int] = field(default_factory=dict)
    unknown: Mapping[GpuUuid, str] = field(default_factory=dict)
    guests: Mapping[GpuUuid, frozenset[str]] = field(default_factory=dict)
    strays: Mapping[GpuUuid, frozenset[str]] = field(default_factory=dict)
    unlisted: frozenset[GpuUuid] = frozenset()


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


@dataclass(slots=True)
class _OnGpu:
    """What was found out of one GPU's processes so far.

    Args:
        known_bytes: of the processes whose owners are known.
        hidden_bytes: of the processes that cannot be looked up.
        outside_bytes: of the processes that no pod with memory of the GPU owns.
        foreign: UIDs of the pods that own those.
        by_pod: bytes of the pods with memory of the GPU.
        unclear: those of them with a process of which the driver does not say what it uses.
        strays: those of them with a process in none of their containers.
    """

    known_bytes: int = 0
    hidden_bytes: int = 0
    outside_bytes: int = 0
    foreign: set[str] = field(default_factory=set)
    by_pod: Counter[str] = field(default_factory=Counter)
    unclear: set[str] = field(default_factory=set)
    strays: set[str] = field(default_factory=set)

    def own_mib(self, holders: Iterable[BoundPod], uuid: GpuUuid, unit_mib: UnitMib) -> int:
        """What those of `holders` whose use is not fully known may be using unseen."""
        return sum(max(0, share_mib(pod, uuid, unit_mib) - _mib(self.by_pod[pod.uid])) for pod in holders)


@dataclass(slots=True)
class _Account:
    """The measurement being made."""

    pods: Mapping[str, BoundPod]
    owners: Mapping[int, ProcessOwner]
    unit_mib: UnitMib
    names: Mapping[str, tuple[BoundPod, str]]
    sums: dict[tuple[ContainerKey, GpuUuid], _Sum] = field(default_factory=dict)
    outside_mib: dict[GpuUuid, int] = field(default_factory=dict)
    unseen_mib: dict[GpuUuid, int] = field(default_factory=dict)
    unknown: dict[GpuUuid, str] = field(default_factory=dict)
    guests: dict[GpuUuid, frozenset[str]] = field(default_factory=dict)
    strays: dict[GpuUuid, frozenset[str]] = field(default_factory=dict)
    unlisted: set[GpuUuid] = field(default_factory=set)

    def blind(self, reading: GpuReading, why: str) -> None:
        """Take a GPU whose processes are not known: what is in use beyond all shares is outside."""
        self.unknown[reading.uuid] = why
        if reading.used_bytes is not None:
            own_mib = _OnGpu().own_mib(self._holders(reading.uuid), reading.uuid, self.unit_mib)
            self.unseen_mib[reading.uuid] = unseen_mib(reading, 0, 0, own_mib)

    def take(self, reading: GpuReading) -> None:
        """Take a GPU whose processes are listed."""
        uuid, found, holders = reading.uuid, _OnGpu(), self._holders(reading.uuid)
        for process in reading.processes or ():
            self._attribute(process, uuid, found)
        self.outside_mib[uuid] = _mib(found.outside_bytes)
        if guests := frozenset(found.foreign - {""}):
            self.guests[uuid] = guests
        if found.strays:
            self.strays[uuid] = frozenset(found.strays)
        # A driver that lists nothing at all may hide the pods' own processes.
        unclear = [pod for pod in holders if pod.uid in found.unclear or not reading.processes]
        self.unseen_mib[uuid] = unseen_mib(
            reading, found.known_bytes, found.hidden_bytes, found.own_mib(unclear, uuid, self.unit_mib)
        )
        used_mib = _mib(reading.used_bytes or 0)
        if holders and not reading.processes and used_mib > tolerance_mib(reading):
            self.unlisted.add(uuid)

    def _holders(self, uuid: GpuUuid) -> list[BoundPod]:
        return [pod for pod in self.pods.values() if holds(pod, uuid)]

    def _attribute(self, process: GpuProcess, uuid: GpuUuid, found: _OnGpu) -> None:
        size_bytes, owner = process.used_bytes or 0, self.owners.get(process.pid)
        if owner is None:
            found.hidden_bytes += size_bytes
            return
        found.known_bytes += size_bytes
        pod, name = self.names.get(owner.container_id) or (self.pods.get(owner.pod_uid), owner.container)
        if pod is not None and process.used_bytes is None:
            self.unknown[uuid] = NO_MEMORY
        if pod is None or not holds(pod, uuid):
            allowance = MPS_SERVER_MIB * _MIB if owner.is_mps_server else 0
            found.outside_bytes += max(0, size_bytes - allowance)
            found.foreign.add(pod.uid if pod is not None else owner.pod_uid)
        else:
            found.by_pod[pod.uid] += size_bytes
            if process.used_bytes is None:
                found.unclear.add(pod.uid)
            if not name:
                found.strays.add(pod.uid)
                name = only_container(pod, uuid)
        if pod is not None and name:
            self.sums.setdefault((ContainerKey(pod.uid, name), uuid), _Sum()).add(process, owner)


def account(
    readings: Iterable[GpuReading],
    owners: Mapping[int, ProcessOwner],
    pods: Mapping[str, BoundPod],
    obstacle: str = "",
    unit_mib: UnitMib = DEFAULT_UNIT_MIB,
) -> Measured:
    """Attribute each process's memory to its owner; `obstacle` is why no process can be looked up, or empty."""
    names = {found: (pod, name) for pod in pods.values() for found, name in pod.container_ids.items()}
    made = _Account(pods, owners, unit_mib, names)
    for reading in readings:
        if reading.processes is None or obstacle:
            made.blind(reading, obstacle or NOT_LISTED)
        else:
            made.take(reading)
    uses = [
        ContainerUse(key, gpu, _mib(each.used_bytes), frozenset(each.pids), each.cgroup, _at_most_one(each.sm_ratio))
        for (key, gpu), each in sorted(made.sums.items())
    ]
    return Measured(
        tuple(uses),
        made.outside_mib,
        made.unseen_mib,
        made.unknown,
        made.guests,
        made.strays,
        frozenset(made.unlisted),
    )


def holds(pod: BoundPod, uuid: GpuUuid) -> bool:
    """Whether the pod was given that GPU: as recorded, else as planned; if neither is known, any GPU counts."""
    if pod.ended:
        return False
    known = [gpus for need in pod.needs if (gpus := _placed(pod, need))]
    return any(uuid in gpus for gpus in known) if known else bool(pod.needs)


def only_container(pod: BoundPod, uuid: GpuUuid) -> str:
    """The container that must own a pod's process on a GPU: the only one with memory there; empty where there are more.

    A sandbox such as gVisor runs the processes of all containers in a cgroup of its own.
    """
    found = [need.name for need in pod.needs if uuid in (_placed(pod, need) or {uuid: 0})]
    return found[0] if len(found) == 1 else ""


def share_mib(pod: BoundPod, uuid: GpuUuid, unit_mib: UnitMib) -> int:
    """The most that a pod may use of a GPU; a request whose GPUs are not known counts on every one."""

    def amount(need: ContainerNeed) -> Mapping[GpuUuid, int]:
        units = (_placed(pod, need) or {uuid: need.memory_units}).get(uuid)
        if units is None:
            return {}
        return {uuid: BOUNDLESS_MIB if need.whole_gpus else units * unit_mib}

    return peak(pod, amount).get(uuid, 0)


def _placed(pod: BoundPod, need: ContainerNeed) -> Mapping[GpuUuid, int]:
    """The units that a container was given, else those that are planned for it."""
    return pod.allocated.get(need.name) or pod.plan.get(need.name) or {}


def _mib(size_bytes: int) -> int:
    """MiB, rounded up."""
    return -(-size_bytes // _MIB)


def _at_most_one(ratio: float | None) -> float | None:
    """The sum capped at 1: the driver rounds each process's part up."""
    return None if ratio is None else min(1.0, ratio)
