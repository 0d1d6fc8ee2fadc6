"""Computes what a pod holds on every GPU, from the GPUs that each of its containers has."""

from collections.abc import Mapping

from msgspec import Struct

from extender.contract.allocation import Allocation
from extender.contract.containers import ContainerKind
from extender.contract.units import GpuUuid, UnitMib, Units
from extender.scheduling.pods.request import ContainerRequest, PodRequest

Placed = Mapping[str, Mapping[GpuUuid, Units]]
"""Container name to its units on each GPU."""


class Footprint(Struct, frozen=True, gc=False):
    """What one pod holds on one node: units per GPU, GPUs held whole, and percent of compute per GPU."""

    shares: Mapping[GpuUuid, int] = {}
    whole: frozenset[GpuUuid] = frozenset()
    cores: Mapping[GpuUuid, int] = {}


def footprint(request: PodRequest, placed: Placed) -> Footprint | None:
    """What the pod holds when its containers have `placed`; None where that contradicts the pod's own spec.

    The amounts always come from the spec; `placed` only says where. Devices of plain init containers are reused by
    the containers after them (see `extender.scheduling.pods.request`), so they count once.
    """
    shares: dict[GpuUuid, int] = {}
    pool: dict[GpuUuid, int] = {}
    cores: dict[GpuUuid, int] = {}
    core_pool: dict[GpuUuid, int] = {}
    whole: set[GpuUuid] = set()
    for container in request.containers:
        gpus = placed.get(container.name)
        if not gpus or not _agrees(container, gpus):
            return None
        if container.gpus:
            whole.update(gpus)
            continue
        is_init = container.kind is ContainerKind.INIT
        for uuid, units in gpus.items():
            _draw(shares, pool, uuid, units, is_init=is_init)
        if container.core_percent:
            each = -(-container.core_percent // len(gpus))
            for uuid in gpus:
                _draw(cores, core_pool, uuid, each, is_init=is_init)
    return None if whole.intersection(shares) else Footprint(shares, frozenset(whole), cores)


def _draw(held: dict[GpuUuid, int], pool: dict[GpuUuid, int], uuid: GpuUuid, amount: int, *, is_init: bool) -> None:
    left = pool.get(uuid, 0)
    held[uuid] = held.get(uuid, 0) + max(0, amount - left)
    pool[uuid] = max(left, amount) if is_init else max(0, left - amount)


def _agrees(container: ContainerRequest, gpus: Mapping[GpuUuid, Units]) -> bool:
    # Not over how many GPUs the memory is spread: that is an annotation, which a tenant can change on a running pod.
    if container.gpus:
        return len(gpus) == container.gpus
    return sum(gpus.values()) == container.memory_units


def footprint_of(
    request: PodRequest, unit_mib: UnitMib, planned: Allocation | None, actual: Allocation | None
) -> Footprint | None:
    """What a bound pod holds by its annotations: where the kubelet put it, else where the extender planned it.

    None when neither says it for every container, in this unit, in agreement with the spec.
    """
    plan = planned.containers if planned is not None and planned.unit_mib == unit_mib else {}
    given = actual.containers if actual is not None and actual.unit_mib == unit_mib else {}
    if given:
        told = footprint(request, _completed(request, plan, given))
        if told is not None:
            return told
    return footprint(request, plan) if plan else None


def _completed(request: PodRequest, plan: Placed, given: Placed) -> Placed:
    """`given` and the plain init containers, which the kubelet does not report.

    They had the GPUs of the containers that took over their devices; the plan only says what those leave open.
    """
    placed = dict(given)
    for demand in request.demands:
        names = [member.container for member in demand.members]
        known = [uuid for name in names for uuid in given.get(name, ())]
        for member in demand.members:
            planned = plan.get(member.container, {})
            if member.container in given:
                continue
            if known:
                gpus = list(dict.fromkeys((*known, *planned)))[: member.gpus]
                placed[member.container] = dict.fromkeys(gpus, Units(max(1, member.units)))
            else:
                placed[member.container] = planned
    return placed
