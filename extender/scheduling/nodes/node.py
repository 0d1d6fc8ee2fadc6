"""Computes the free units of every GPU of a node from the node's record and the pods that hold GPUs on it.

Usage is computed from the whole set of holders each time, so it cannot leak or underflow.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from operator import attrgetter

from msgspec import Struct
from msgspec.structs import replace

from extender.contract.inventory import Inventory
from extender.contract.mig import MigDevice, place_text
from extender.contract.units import CORE_PERCENT, GpuUuid, UnitMib, units_in
from extender.scheduling.nodes.shape import NodeShape, shape_of
from extender.scheduling.pods.footprint import Footprint
from extender.scheduling.pods.models import ModelPatterns
from extender.scheduling.pods.request import Demand, PodRequest
from extender.scheduling.pods.serving import can_serve, may_be_given

_UID = attrgetter("uid")


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """One node as the API server shows it.

    `inventory` is None without a readable inventory annotation, `inventory_error` then says why. `memory_units`,
    `whole_gpus` and `core_percent` are the node's allocatable, None when its kubelet does not offer the resource.
    """

    name: str
    uid: str = ""
    resource_version: int = 0
    inventory: Inventory | None = None
    inventory_error: str = ""
    memory_units: int | None = None
    whole_gpus: int | None = None
    cpu_milli: int = 0
    memory_bytes: int = 0
    core_percent: int | None = None
    shape: NodeShape = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", shape_of(self.inventory, self.cpu_milli, self.memory_bytes))


class Hold(Enum):
    """How firmly a pod holds its GPUs: by a Binding seen, by one on its way, or for a moment after filter.

    Least of all by a claim: room that evictions make for it, which its victims may still hold.
    """

    BOUND = "bound"
    ASSUMED = "assumed"
    HELD = "held"
    CLAIMED = "claimed"


_CLAIMED = Hold.CLAIMED
"""Looked up once: for an enum that takes a while."""


class Holder(Struct, frozen=True, gc=False):
    """A pod on a node; `footprint` is None when it is unknown on which GPUs it sits."""

    uid: str
    namespace: str
    name: str
    request: PodRequest | None
    footprint: Footprint | None
    cpu_milli: int = 0
    memory_bytes: int = 0
    hold: Hold = Hold.BOUND


class GpuInfo(Struct, frozen=True, gc=False):
    """One GPU: `capacity` units, of which `used` are charged to pods and `outside` to what the ledger does not know.

    `mig` says which MIG device it is, None for a whole physical GPU.

    `core_used_percent` is the compute charged to pods. `claimed` and `core_claimed_percent` are kept for pods that
    evictions make room for, in part on what their victims still use; all of a GPU that is claimed whole.
    """

    uuid: GpuUuid
    index: int
    model: str
    capacity: int
    used: int = 0
    outside: int = 0
    whole: bool = False
    healthy: bool = True
    reason: str = ""
    enforcement: str = ""
    core_enforcement: str = ""
    core_used_percent: int = 0
    claimed: int = 0
    core_claimed_percent: int = 0
    mig: MigDevice | None = None

    @property
    def place(self) -> str:
        """Its name among the GPUs of its node, for people: `0`, or `0:3` for a MIG device."""
        return place_text(self.index, self.mig)

    @property
    def taken(self) -> int:
        """Units that no other pod can get, because pods have them or claim them."""
        return self.used + self.claimed

    @property
    def free(self) -> int:
        """Units that a pod can still get; never negative."""
        return max(0, self.capacity - self.used - self.claimed - self.outside) if self.healthy else 0

    @property
    def core_free_percent(self) -> int:
        """Compute that a pod can still ask for; never negative."""
        if self.whole or not self.healthy:
            return 0
        return max(0, CORE_PERCENT - self.core_used_percent - self.core_claimed_percent)

    @property
    def idle(self) -> bool:
        """Whether a pod could hold it whole."""
        return self.healthy and self.capacity > 0 and not (self.used or self.claimed or self.outside)

    def can_serve(self, models: ModelPatterns, demand: Demand) -> bool:
        """Whether it can be one of the demand's GPUs for a pod that accepts `models`, however much of it is free."""
        return can_serve(models, self.model, is_slice=self.mig is not None, whole=demand.whole, gpus=demand.gpus)

    @property
    def overcommitted(self) -> int:
        """Units charged to pods beyond the capacity."""
        return max(0, self.used - self.capacity)


class NodeInfo(Struct, frozen=True, gc=False):
    """One node at one generation of the ledger; never changed, only replaced.

    `free` and `idle` repeat what `gpus` says, in the form that fitting reads fastest. `claims` repeats the units and
    the compute claimed of each GPU; it is empty where nothing is.
    """

    record: NodeRecord
    gpus: tuple[GpuInfo, ...] = ()
    holders: tuple[Holder, ...] = ()
    generation: int = 0
    unit_matches: bool = True
    cpu_used_milli: int = 0
    memory_used_bytes: int = 0
    free: tuple[int, ...] = ()
    idle: tuple[bool, ...] = ()
    claims: tuple[tuple[int, int], ...] = ()

    @property
    def name(self) -> str:
        """Name of the node."""
        return self.record.name

    @property
    def cpu_free_milli(self) -> int:
        """Thousandths of a core that no pod asked for."""
        return max(0, self.record.cpu_milli - self.cpu_used_milli)

    @property
    def memory_free_bytes(self) -> int:
        """Memory that no pod asked for."""
        return max(0, self.record.memory_bytes - self.memory_used_bytes)

    @property
    def capacity(self) -> int:
        """Units of all healthy GPUs."""
        return sum(gpu.capacity for gpu in self.gpus if gpu.healthy)

    @property
    def all_unhealthy(self) -> bool:
        """Whether it has GPUs and none is healthy, so that its kubelet rightly offers nothing."""
        return bool(self.gpus) and not any(gpu.healthy for gpu in self.gpus)

    def held_by(self, holders: tuple[Holder, ...], generation: int) -> "NodeInfo":
        """The same GPUs with the same charges, where only how firmly a pod holds them has changed."""
        return NodeInfo(
            self.record,
            self.gpus,
            holders,
            generation,
            self.unit_matches,
            self.cpu_used_milli,
            self.memory_used_bytes,
            self.free,
            self.idle,
            self.claims,
        )


def node_info(
    record: NodeRecord,
    holders: Iterable[Holder],
    *,
    unit_mib: UnitMib,
    generation: int = 0,
    before: NodeInfo | None = None,
) -> NodeInfo:
    """Charge `holders` to the GPUs of `record`; the order of `holders` does not matter.

    A pod whose GPUs are unknown, or are not of this node (annotations can say anything), is charged where it hurts
    most, to the GPU with most units free of those that it may have, after all others. A claim on GPUs that are not
    there is charged nowhere.
    `before`, an earlier state of the node, only saves time: what has not changed since is taken from there.
    """
    everyone = sorted(holders, key=_UID)
    cpu_milli = memory_bytes = 0
    for holder in everyone:
        cpu_milli += holder.cpu_milli
        memory_bytes += holder.memory_bytes
    inventory = record.inventory
    if inventory is None:
        return NodeInfo(record, (), tuple(everyone), generation, True, cpu_milli, memory_bytes)
    if before is not None and before.record.inventory is inventory and before.gpus:
        known = before.gpus
    else:
        before, known = None, _empty_gpus(inventory, unit_mib)
    charges = _Charges(known)
    unplaced: list[PodRequest] = []
    for at, holder in enumerate(everyone):
        footprint = holder.footprint
        if holder.hold is _CLAIMED:
            charges.claim(footprint)
            continue
        if footprint is not None and charges.add(footprint):
            continue
        if footprint is not None:
            everyone[at] = replace(holder, footprint=None)
        if holder.request is not None:
            unplaced.append(holder.request)
    for request in unplaced:
        charges.add_worst(request)
    gpus, free, idle = charges.made(before)
    unit_matches = inventory.unit_mib == unit_mib
    claims = charges.claims()
    return NodeInfo(
        record, gpus, tuple(everyone), generation, unit_matches, cpu_milli, memory_bytes, free, idle, claims
    )


def node_without(node: NodeInfo, uids: Collection[str], *, unit_mib: UnitMib) -> NodeInfo:
    """The node as it would be without these pods."""
    left = [holder for holder in node.holders if holder.uid not in uids]
    return node_info(node.record, left, unit_mib=unit_mib, generation=node.generation, before=node)


def _empty_gpus(inventory: Inventory, unit_mib: UnitMib) -> tuple[GpuInfo, ...]:
    return tuple(
        GpuInfo(
            uuid=gpu.uuid,
            index=gpu.index,
            model=gpu.model,
            capacity=units_in(gpu.memory_mib, unit_mib),
            # Part of a unit in use outside makes the whole unit useless to pods.
            outside=-(-gpu.outside_mib // unit_mib),
            healthy=gpu.healthy,
            reason=gpu.reason,
            enforcement=gpu.enforcement,
            core_enforcement=gpu.core_enforcement,
            mig=gpu.mig,
        )
        for gpu in inventory.gpus
    )


class _Charges:
    """What pods hold of GPUs, as it is gathered; a node's GPUs have a UUID each."""

    __slots__ = ("_claimed", "_cores", "_known", "_used", "_whole")

    def __init__(self, known: tuple[GpuInfo, ...]) -> None:
        self._known = known
        self._used: dict[GpuUuid, int] = dict.fromkeys([gpu.uuid for gpu in known], 0)
        self._whole: set[GpuUuid] = set()
        self._cores: dict[GpuUuid, int] = {}
        self._claimed: dict[GpuUuid, tuple[int, int]] = {}

    def claim(self, footprint: Footprint | None) -> None:
        """Keep what the footprint names, on top of what pods use."""
        if footprint is None:
            return
        for gpu in self._known:
            units, core_percent = self._claimed.get(gpu.uuid, (0, 0))
            if gpu.uuid in footprint.whole:
                self._claimed[gpu.uuid] = units + gpu.capacity, core_percent + CORE_PERCENT
            elif gpu.uuid in footprint.shares:
                core_percent += footprint.cores.get(gpu.uuid, 0)
                self._claimed[gpu.uuid] = units + footprint.shares[gpu.uuid], core_percent

    def claims(self) -> tuple[tuple[int, int], ...]:
        """Units and compute claimed of each GPU; empty where nothing is."""
        claimed = self._claimed
        return tuple([claimed.get(gpu.uuid, (0, 0)) for gpu in self._known]) if claimed else ()

    def add(self, footprint: Footprint) -> bool:
        """Charge the footprint; False, and nothing charged, when it names GPUs that are not of this node."""
        used = self._used
        for uuid in footprint.shares:
            if uuid not in used:
                return False
        if footprint.whole:
            if not footprint.whole <= used.keys():
                return False
            for gpu in self._known:
                if gpu.uuid in footprint.whole:
                    used[gpu.uuid] += gpu.capacity
            self._whole |= footprint.whole
        for uuid, units in footprint.shares.items():
            used[uuid] += units
        if footprint.cores:
            _add(self._cores, footprint.cores)
        return True

    def add_worst(self, request: PodRequest) -> None:
        """Charge a pod of unknown place so that the largest holes among the units offered to pods are gone.

        As device plugins give them out: MIG devices that it cannot have come last, those that it takes whole first.
        """
        used = self._used
        # No pod can get units of an unhealthy GPU: charging it there would hurt least.
        offered = {gpu.uuid: gpu.capacity - gpu.outside if gpu.healthy else 0 for gpu in self._known}
        capacity = {gpu.uuid: gpu.capacity for gpu in self._known}
        slices = {gpu.uuid for gpu in self._known if gpu.mig is not None}
        cores: dict[GpuUuid, int] = {}
        for demand in sorted(request.demands, key=lambda demand: -demand.units):
            takes_slices = may_be_given(request.models, is_slice=True, whole=demand.whole, gpus=demand.gpus)
            preferred = used.keys() if takes_slices else used.keys() - slices
            if takes_slices and demand.whole:
                preferred = {uuid for uuid in slices if used[uuid] == 0 < offered[uuid]} or preferred
            emptiest = sorted(used, key=lambda uuid: (uuid not in preferred, used[uuid] - offered[uuid], uuid))
            for uuid in emptiest[: demand.gpus]:
                used[uuid] += capacity[uuid] if demand.whole else demand.units
                if demand.whole:
                    self._whole.add(uuid)
                if demand.core_percent:
                    cores[uuid] = cores.get(uuid, 0) + demand.core_percent
        _add(self._cores, cores)

    def made(self, before: NodeInfo | None) -> tuple[tuple[GpuInfo, ...], tuple[int, ...], tuple[bool, ...]]:
        """The GPUs with what is used of each, their free units, and whether each is idle.

        `before` is the node whose GPUs these are, charged otherwise; most of them are as they were.
        """
        known, whole, cores, claimed = self._known, self._whole, self._cores, self._claimed
        gpus = list(known)
        claims = bool(claimed or (before is not None and before.claims))
        if before is not None:
            free, idle = list(before.free), list(before.idle)
        else:
            free, idle = [gpu.free for gpu in known], [gpu.idle for gpu in known]
        for at, (gpu, units) in enumerate(zip(known, self._used.values(), strict=True)):
            all_of_it, core_percent = gpu.uuid in whole, cores.get(gpu.uuid, 0) if cores else 0
            if (
                gpu.used != units
                or gpu.whole is not all_of_it
                or gpu.core_used_percent != core_percent
                or (claims and (gpu.claimed, gpu.core_claimed_percent) != claimed.get(gpu.uuid, (0, 0)))
            ):
                kept = claimed.get(gpu.uuid, (0, 0)) if claimed else (0, 0)
                gpus[at] = now = _with(gpu, units, core_percent, kept, whole=all_of_it)
                free[at], idle[at] = now.free, now.idle
        return tuple(gpus), tuple(free), tuple(idle)


def _with(gpu: GpuInfo, used: int, core_used_percent: int, claimed: tuple[int, int], *, whole: bool) -> GpuInfo:
    return GpuInfo(
        gpu.uuid,
        gpu.index,
        gpu.model,
        gpu.capacity,
        used,
        gpu.outside,
        whole,
        gpu.healthy,
        gpu.reason,
        gpu.enforcement,
        gpu.core_enforcement,
        core_used_percent,
        *claimed,
        gpu.mig,
    )


def _add(cores: dict[GpuUuid, int], more: Mapping[GpuUuid, int]) -> None:
    for uuid, percent in more.items():
        cores[uuid] = cores.get(uuid, 0) + percent
