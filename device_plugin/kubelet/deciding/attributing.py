"""Works out which container of which pod holds which devices.

The kubelet's podresources names pods, not UIDs, and leaves out plain init containers; the pods of the node and the
Allocates that were just answered fill in what is missing.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from device_plugin.gpus.devices import DeviceIdError, gpu_of
from device_plugin.gpus.gpu import Gpus
from device_plugin.kubelet.deciding.allocating import units_by_gpu
from device_plugin.kubelet.deciding.matching import Occupied
from device_plugin.pods.pod import BoundPod, ContainerKey, ContainerNeed, Placement
from device_plugin.settings import Resource
from extender.contract.containers import ContainerKind
from extender.contract.units import GpuUuid, Units


@dataclass(frozen=True, slots=True)
class Entry:
    """What podresources says of one container and resource."""

    namespace: str
    pod: str
    container: str
    resource: Resource
    ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class Grant:
    """An Allocate that succeeded at `at_s` (monotonic); `key` is the container that it was meant for."""

    resource: Resource
    ids: frozenset[str]
    at_s: float
    key: ContainerKey | None = None


Held = Mapping[tuple[ContainerKey, Resource], frozenset[str]]
"""Devices of a resource by the container that holds them."""


@dataclass(frozen=True, slots=True)
class Attribution:
    """Who holds what: `held` for known pods, `unattributed` for entries whose pod is not known (yet, or any more)."""

    held: Held = field(default_factory=dict)
    unattributed: tuple[Entry, ...] = ()


def attribute(entries: Sequence[Entry], pods: Iterable[BoundPod], earlier: Held) -> Attribution:
    """Attribute every entry to the pod that holds it.

    A pod that was force-deleted and created again under its name is listed twice, or still as the old one. An entry
    whose devices belonged to another UID before stays with that UID, unless the kubelet has admitted the new pod and
    lists nothing else under that name.
    """
    by_path = {(pod.namespace, pod.name): pod for pod in pods}
    owners = {(key.container, resource, ids): key.uid for (key, resource), ids in earlier.items()}
    listed: dict[tuple[str, str, str, Resource], int] = {}
    for entry in entries:
        place = (entry.namespace, entry.pod, entry.container, entry.resource)
        listed[place] = listed.get(place, 0) + 1
    held: dict[tuple[ContainerKey, Resource], frozenset[str]] = {}
    unattributed: list[Entry] = []
    for entry in entries:
        pod = by_path.get((entry.namespace, entry.pod))
        owner = owners.get((entry.container, entry.resource, entry.ids))
        alone = listed[entry.namespace, entry.pod, entry.container, entry.resource] == 1
        if pod is None or (owner not in (None, pod.uid) and not (pod.admitted and alone)):
            unattributed.append(entry)
        else:
            held[ContainerKey(pod.uid, entry.container), entry.resource] = entry.ids
    return Attribution(held, tuple(unattributed))


SHOWN_AFTER_S = 0.2
"""podresources shows an Allocate within 10 ms; many times that, for a kubelet that is busy."""


def settle(
    grants: Iterable[Grant], attribution: Attribution, pods: Mapping[str, BoundPod], now_s: float, patience_s: float
) -> list[Grant]:
    """The grants that podresources does not account for yet.

    Dropped: what it shows, and what it should have shown after `patience_s` (the pod was refused or is gone), or after
    `SHOWN_AFTER_S` where the pod that it was meant for has ended.
    Kept: plain init containers, which it never shows, for as long as their pod lives and no other pod has the devices.
    """
    shown = {(resource, ids) for (_, resource), ids in attribution.held.items()}
    shown |= {(entry.resource, entry.ids) for entry in attribution.unattributed}
    kept: list[Grant] = []
    for grant in grants:
        if is_live_init(grant, pods):
            if not _others_have(grant, attribution):
                kept.append(grant)
        elif (grant.resource, grant.ids) not in shown:
            waits_s = SHOWN_AFTER_S if _has_ended(grant, pods) else patience_s
            if now_s - grant.at_s < waits_s:
                kept.append(grant)
    return kept


def _has_ended(grant: Grant, pods: Mapping[str, BoundPod]) -> bool:
    """Whether the pod that a grant was meant for is gone or has ended; False where it is not known for which it was."""
    if grant.key is None:
        return False
    pod = pods.get(grant.key.uid)
    return pod is None or pod.ended


def is_live_init(grant: Grant, pods: Mapping[str, BoundPod]) -> bool:
    """Whether a grant is for a plain init container, which podresources never shows, of a pod that has not ended."""
    pod = None if grant.key is None else pods.get(grant.key.uid)
    if pod is None or grant.key is None or pod.ended:
        return False
    need = pod.need(grant.key.container)
    return need is not None and need.kind is ContainerKind.INIT


def _others_have(grant: Grant, attribution: Attribution) -> bool:
    """Whether a pod other than the one that the grant was meant for holds its devices."""
    return any(
        resource is grant.resource and ids & grant.ids and (grant.key is None or key.uid != grant.key.uid)
        for (key, resource), ids in attribution.held.items()
    )


def taken_by(held: Held, grants: Iterable[Grant]) -> frozenset[tuple[ContainerKey, Resource]]:
    """Containers that have their devices, or were most likely just given them."""
    return frozenset(held) | {(grant.key, grant.resource) for grant in grants if grant.key is not None}


def memory_places(held: Held, grants: Iterable[Grant]) -> dict[ContainerKey, set[GpuUuid]]:
    """The GPUs on which containers have memory, as podresources shows, or most likely as just granted."""
    places = {
        grant.key: _gpus_of(grant.resource, grant.ids)
        for grant in grants
        if grant.key is not None and grant.resource is Resource.MEMORY
    }
    return places | {key: _gpus_of(kind, ids) for (key, kind), ids in held.items() if kind is Resource.MEMORY}


def occupied_by(attribution: Attribution, grants: Iterable[Grant], pods: Iterable[BoundPod]) -> Occupied:
    """GPUs in use: as podresources shows, as just granted, and by init containers as recorded on their pods."""
    gpus: dict[Resource, set[GpuUuid]] = {resource: set() for resource in Resource}
    holdings = [(resource, ids) for (_, resource), ids in attribution.held.items()]
    holdings += [(entry.resource, entry.ids) for entry in attribution.unattributed]
    holdings += [(grant.resource, grant.ids) for grant in grants]
    for resource, ids in holdings:
        gpus[resource] |= _gpus_of(resource, ids)
    for pod in pods:
        for need in pod.needs:
            if need.kind is ContainerKind.INIT and not pod.ended:
                gpus[Resource.WHOLE if need.whole_gpus else Resource.MEMORY] |= pod.allocated.get(need.name, {}).keys()
    return Occupied(whole=frozenset(gpus[Resource.WHOLE]), shared=frozenset(gpus[Resource.MEMORY]))


def _gpus_of(resource: Resource, ids: Iterable[str]) -> set[GpuUuid]:
    found: set[GpuUuid] = set()
    for device_id in ids:
        # An ID of an earlier plugin under the same resource name says nothing about our GPUs.
        with suppress(DeviceIdError):
            found.add(gpu_of(resource, device_id))
    return found


def allocated_of(pod: BoundPod, held: Held, grants: Iterable[Grant], gpus: Gpus) -> Placement | None:
    """What each container of a pod has, None while that is not known of every container that podresources shows.

    A plain init container is where the first later container that reuses its devices is; if no later one asks for
    the resource, it is where it was granted, recorded or planned, in this order.
    """
    found: dict[str, dict[GpuUuid, Units]] = {}
    for need in pod.needs:
        if need.kind is ContainerKind.INIT:
            continue
        amounts: dict[GpuUuid, Units] = {}
        key = ContainerKey(pod.uid, need.name)
        if need.core_percent and not pod.admitted and (key, Resource.CORE) not in held:
            return None  # its Allocates are not over
        for resource in (Resource.MEMORY, Resource.WHOLE):
            ids = held.get((key, resource))
            if ids is not None:
                amounts |= _amounts(resource, ids, gpus)
            elif need.amount(resource):
                amounts |= pod.allocated.get(need.name, {})
        if not amounts:
            return None
        found[need.name] = amounts
    by_init = {grant.key: grant for grant in grants if grant.key is not None and grant.resource is not Resource.CORE}
    for position, need in enumerate(pod.needs):
        if need.kind is ContainerKind.INIT:
            grant = by_init.get(ContainerKey(pod.uid, need.name))
            placed = _reused(need, pod.needs[position + 1 :], found, gpus) or (
                _amounts(grant.resource, grant.ids, gpus) if grant is not None else None
            )
            recorded = placed or pod.allocated.get(need.name) or (pod.plan.get(need.name) if pod.admitted else None)
            if recorded:
                found[need.name] = dict(recorded)
    return found or None


def _amounts(resource: Resource, ids: frozenset[str], gpus: Gpus) -> dict[GpuUuid, Units]:
    try:
        return units_by_gpu(resource, ids, gpus)
    except DeviceIdError:
        return {}


def _reused(
    need: ContainerNeed, later: Iterable[ContainerNeed], found: Placement, gpus: Gpus
) -> dict[GpuUuid, Units] | None:
    """An init container's units on the GPUs of the first later container that draws from its devices."""
    resource = Resource.WHOLE if need.whole_gpus else Resource.MEMORY
    user = next((other for other in later if other.kind is not ContainerKind.INIT and other.amount(resource)), None)
    if user is None:
        return None
    uuids = list(found[user.name])
    if resource is Resource.WHOLE:
        return units_by_gpu(resource, uuids, gpus) if need.whole_gpus == len(uuids) else None
    share, rest = divmod(need.memory_units, len(uuids))
    return {uuid: Units(share + (place < rest)) for place, uuid in enumerate(uuids) if share + (place < rest)}
