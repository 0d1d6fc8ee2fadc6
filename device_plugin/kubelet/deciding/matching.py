"""Chooses the device IDs that the kubelet should give to the container that it is admitting.

The kubelet does not say which pod it asks for. The container being admitted is taken to be the oldest bound one that
asks for the same resource in the same size and has none of it yet. If two pending containers look the same, the guess
may swap them; both then run on a GPU that was planned for that size, and the `allocated` annotation records the truth.
If they ask for the same size in another shape, for other GPU models, over another number of GPUs or with other compute,
a swap would do harm; then only pods that the kubelet already knows count. It admits each pod before it takes in the
next (pkg/kubelet/kubelet.go, HandlePodAdditions), so it knows only one of those that wait.

Compute goes where the container's memory is. If too little of it is left there, it comes from another GPU: that only
shifts the kubelet's account of compute and keeps no container from running.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from device_plugin.gpus.devices import by_gpu
from device_plugin.gpus.gpu import Gpus
from device_plugin.pods.pod import BoundPod, ContainerKey, ContainerNeed
from device_plugin.settings import Resource
from extender.contract.containers import ContainerKind
from extender.contract.units import GpuUuid

AS_PLANNED = "as planned"

PodPath = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class Request:
    """One container's GetPreferredAllocation request.

    `available` holds every free ID and those of `must_include`; `size` counts all, with those that must be included.
    """

    resource: Resource
    available: frozenset[str]
    must_include: frozenset[str]
    size: int


@dataclass(frozen=True, slots=True)
class Occupied:
    """GPUs in use: given out as a whole, or shared by containers that ask for memory."""

    whole: frozenset[GpuUuid] = frozenset()
    shared: frozenset[GpuUuid] = frozenset()

    def closed_to(self, resource: Resource) -> frozenset[GpuUuid]:
        """GPUs that cannot serve that resource."""
        return self.shared if resource is Resource.WHOLE else self.whole


class Shape(NamedTuple):
    """How containers of one size may differ: GPUs by number and model, other resources, and whether MPS can hold them.

    `gpu_model` is the text of the annotation: no two texts are taken to mean the same.
    """

    gpu_count: int
    memory_units: int
    core_percent: int
    hides_shm: bool = False
    gpu_model: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A container that may be the one now being admitted.

    `plan` is what the extender chose for it, or for compute where its memory is, empty when that is not known;
    `gpu_count` is how many GPUs it spreads over; `takes_mig` says whether a MIG device is a whole GPU to it.
    """

    key: ContainerKey
    plan: Mapping[GpuUuid, int]
    gpu_count: int
    shape: Shape
    takes_mig: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """The answer to one request.

    `key` is the container that it is meant for, None when no pending one fits; `gpu_count` is the number of GPUs over
    which it may be spread; `why` is for the log.
    """

    ids: tuple[str, ...]
    key: ContainerKey | None
    gpu_count: int
    why: str

    @property
    def is_planned(self) -> bool:
        """Whether these are GPUs that the extender chose for a container of this size."""
        return self.why == AS_PLANNED


@dataclass(frozen=True, slots=True)
class Reserved:
    """What the kubelet offers as free but belongs to other containers: units on each GPU, and GPUs as a whole."""

    units: Mapping[GpuUuid, int]
    whole: frozenset[GpuUuid]


Taken = Collection[tuple[ContainerKey, Resource]]
"""Containers that already have their devices of a resource."""


def candidates(
    resource: Resource,
    size: int,
    pods: Iterable[BoundPod],
    taken: Taken,
    reused: Collection[str] = (),
    *,
    memory_on: Mapping[ContainerKey, Collection[GpuUuid]] = MappingProxyType({}),
) -> list[Candidate]:
    """Containers that a request of `size` may be for, likeliest first.

    `reused` are the UIDs of pods whose init containers hold devices that the request must include, `memory_on` the GPUs
    on which containers already have their memory.
    """
    found: list[tuple[tuple[bool, bool, bool, int, int], Candidate]] = []
    for pod in pods:
        if pod.ended or pod.terminating or pod.admitted:
            continue
        started = any((ContainerKey(pod.uid, need.name), kind) in taken for need in pod.needs for kind in Resource)
        for position, key, waits in _pending(pod, resource, size, taken):
            # The kubelet admits one pod after the other, and each pod's containers in order.
            rank = (pod.uid not in reused, waits, not started, pod.order, position)
            found.append((rank, _candidate(pod, key, resource, size, memory_on)))
    return [candidate for _, candidate in sorted(found, key=lambda pair: pair[0])]


def _pending(pod: BoundPod, resource: Resource, size: int, taken: Taken) -> Iterator[tuple[int, ContainerKey, bool]]:
    """Position and key of each matching container without devices, and whether an earlier one still waits."""
    served = [_is_served(pod, need, taken) for need in pod.needs]
    waits = False
    for position, need in enumerate(pod.needs):
        key = ContainerKey(pod.uid, need.name)
        # podresources does not show init containers, but later containers get their devices after them.
        passed = served[position] or (need.kind is ContainerKind.INIT and any(served[position + 1 :]))
        if not passed and need.amount(resource) == size and (key, resource) not in taken:
            yield position, key, waits
        waits = waits or not passed


def _is_served(pod: BoundPod, need: ContainerNeed, taken: Taken) -> bool:
    if need.name in pod.allocated:
        return True
    return all((ContainerKey(pod.uid, need.name), kind) in taken for kind in Resource if need.amount(kind))


def is_ambiguous(found: Iterable[Candidate]) -> bool:
    """Whether it matters which of these containers is the one now being admitted."""
    return len({candidate.shape for candidate in found}) > 1


def among(found: Sequence[Candidate], pods: Mapping[str, BoundPod], known: Collection[PodPath]) -> Sequence[Candidate]:
    """The candidates whose pods the kubelet knows; all of them where it knows none."""
    there = [one for one in found if (pod := pods.get(one.key.uid)) and (pod.namespace, pod.name) in known]
    return there or found


def _candidate(
    pod: BoundPod,
    key: ContainerKey,
    resource: Resource,
    size: int,
    memory_on: Mapping[ContainerKey, Collection[GpuUuid]],
) -> Candidate:
    plan = pod.plan.get(key.container, {})
    need = pod.need(key.container) or ContainerNeed(key.container)
    shape = Shape(pod.gpu_count, need.memory_units, need.core_percent, need.hides_shm, pod.gpu_model)
    if resource is Resource.WHOLE:
        return Candidate(key, dict.fromkeys(plan, 1) if len(plan) == size else {}, size, shape, pod.takes_mig)
    if resource is Resource.CORE:
        where = memory_on.get(key) or plan
        share, rest = divmod(size, max(1, len(where)))
        return Candidate(key, dict.fromkeys(where, share) if not rest else {}, len(where) or pod.gpu_count, shape)
    fits = sum(plan.values()) == size
    return Candidate(key, plan if fits else {}, len(plan) if fits else pod.gpu_count, shape)


def prefer(request: Request, found: Sequence[Candidate], gpus: Gpus, occupied: Occupied, reserved: Reserved) -> Choice:
    """Choose the IDs for a request: the likeliest candidate's GPUs, or else the fullest GPU that has room.

    Returns:
        Exactly `size` IDs from `available`, with all of `must_include`, whenever there are that many; if no GPU has
        room they are spread, and Allocate refuses them with a reason.

    Raises:
        DeviceIdError: the request holds an ID that this plugin never advertised.
    """
    free = _Free(request, gpus, occupied)
    for candidate in found:
        if candidate.plan and (ids := free.take(candidate.plan)) is not None:
            return Choice(ids, candidate.key, len(candidate.plan), AS_PLANNED)
    for candidate in found:
        count = min(candidate.gpu_count, request.size)
        # Of what a gpu-model accepts only this is known here: the models of the GPUs that were planned.
        models = gpus.models(candidate.plan) if candidate.shape.gpu_model else frozenset()
        ids = free.take_spread(count, reserved, takes_mig=candidate.takes_mig, models=models)
        if ids is not None:
            why = "the planned GPUs have no room" if candidate.plan else "bound without a plan"
            return Choice(ids, candidate.key, candidate.gpu_count, why)
    count = request.size if request.resource is Resource.WHOLE else 1
    # A container that is known gets no memory on another number of GPUs than it asks for.
    if not found or request.resource is Resource.CORE:
        ids = free.take_spread(count, reserved)
        if ids is not None:
            return Choice(ids, None, count, "no pending container of this size on this node")
    first = found[0] if found else None
    return Choice(free.take_any(), first.key if first else None, first.gpu_count if first else count, "no GPU has room")


def reserved_by(pods: Iterable[BoundPod], taken: Taken) -> Reserved:
    """What is reserved for containers without devices; a request without a plan avoids it.

    These are the plans of pods that are still to be admitted, and what admitted pods were given by a kubelet that has
    lost its checkpoint since: it offers their devices again while their containers keep running.
    """
    units: dict[GpuUuid, int] = {}
    whole: set[GpuUuid] = set()
    for pod in pods:
        if pod.ended or (pod.terminating and not pod.admitted):
            continue
        for need in pod.needs:
            if pod.admitted and need.kind is ContainerKind.INIT:
                continue  # podresources never shows it, and it has ended
            key = ContainerKey(pod.uid, need.name)
            gpus = (pod.allocated if pod.admitted else pod.plan).get(need.name, {})
            if need.whole_gpus and (key, Resource.WHOLE) not in taken:
                whole.update(gpus)
            elif need.memory_units and (key, Resource.MEMORY) not in taken:
                for uuid, amount in gpus.items():
                    units[uuid] = units.get(uuid, 0) + amount
    return Reserved(units, frozenset(whole))


class _Free:
    """The free IDs of one request by GPU, and the ways to take `size` of them."""

    def __init__(self, request: Request, gpus: Gpus, occupied: Occupied) -> None:
        self._request = request
        self._gpus = gpus
        # Devices that a container holds are shown as healthy on a GPU out of service, and are free when it has ended.
        sick = {sample.uuid for sample in gpus if not sample.healthy}
        self._closed = occupied.closed_to(request.resource) | sick
        self._must = by_gpu(request.resource, request.must_include)
        self._others = by_gpu(request.resource, request.available - request.must_include)

    def take(self, amounts: Mapping[GpuUuid, int]) -> tuple[str, ...] | None:
        """That many IDs of each GPU, with all that must be included; None when they are not available."""
        if not self._must.keys() <= amounts.keys() or sum(amounts.values()) != self._request.size:
            return None
        ids: list[str] = []
        for uuid, amount in amounts.items():
            must, others = self._must.get(uuid, []), self._others.get(uuid, [])
            if uuid in self._closed or not len(must) <= amount <= len(must) + len(others):
                return None
            ids += must + others[: amount - len(must)]
        return tuple(ids)

    def take_spread(
        self, count: int, reserved: Reserved, *, takes_mig: bool = False, models: frozenset[str] = frozenset()
    ) -> tuple[str, ...] | None:
        """IDs spread evenly over the best `count` GPUs; None when they are not available.

        MIG devices are never combined, and are whole GPUs only to who takes them as such, and then come first. Where
        `models` are given, GPUs of other models come last.
        """
        if count < 1:
            return None
        share, rest = divmod(self._request.size, count)
        most = share + (rest > 0)
        fitting = [uuid for uuid in self._known() if uuid not in self._closed and self._room(uuid) >= most]
        if count > 1 or (self._request.resource is Resource.WHOLE and not takes_mig):
            fitting = [uuid for uuid in fitting if not self._gpus.is_slice(uuid)]

        def order(uuid: GpuUuid) -> tuple[bool, bool, tuple[int, bool, bool, int, int]]:
            is_other = bool(models) and not self._gpus.models((uuid,)) <= models
            return takes_mig and not self._gpus.is_slice(uuid), is_other, self._rank(uuid, most, reserved)

        fitting.sort(key=order)
        chosen = fitting[:count]
        if len(chosen) < count:
            return None
        return self.take({uuid: share + (place < rest) for place, uuid in enumerate(chosen)})

    def take_any(self) -> tuple[str, ...]:
        """What must be included, then IDs of the GPUs with the most room, up to `size`."""
        ids = [device_id for found in self._must.values() for device_id in found]
        for uuid in sorted(self._others, key=lambda uuid: (uuid in self._closed, -len(self._others[uuid]), uuid)):
            ids += self._others[uuid]
        return tuple(ids[: self._request.size])

    def _known(self) -> list[GpuUuid]:
        return [uuid for uuid in {**self._must, **self._others} if self._gpus.get(uuid) is not None]

    def _room(self, uuid: GpuUuid) -> int:
        return len(self._must.get(uuid, ())) + len(self._others.get(uuid, ()))

    def _rank(self, uuid: GpuUuid, amount: int, reserved: Reserved) -> tuple[int, bool, bool, int, int]:
        """Least first: holds reused devices, disturbs no other plan, is already shared, has least room, NVML order."""
        room = self._room(uuid)
        if self._request.resource is Resource.WHOLE:
            disturbs = uuid in reserved.whole or uuid in reserved.units
            untouched = False
        elif self._request.resource is Resource.CORE:
            disturbs, untouched = uuid in reserved.whole, False
        else:
            disturbs = uuid in reserved.whole or room - reserved.units.get(uuid, 0) < amount
            untouched = room >= self._gpus.units(uuid)
        return -len(self._must.get(uuid, ())), disturbs, untouched, room, self._gpus.position(uuid)
