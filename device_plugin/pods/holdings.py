"""Adds up the memory and compute that each container, and each GPU's pods together, were given."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from device_plugin.gpus.gpu import GpuSample
from device_plugin.pods.pod import BoundPod, ContainerKey, ContainerNeed
from extender.contract.containers import ContainerKind
from extender.contract.units import GpuUuid


def held_by_container(
    pods: Iterable[BoundPod], gpus: Mapping[GpuUuid, GpuSample], unit_mib: int
) -> dict[tuple[ContainerKey, GpuUuid], int]:
    """MiB of each GPU that each container was given; a whole GPU is all of it."""
    return {
        (ContainerKey(pod.uid, need.name), uuid): size_mib
        for pod in pods
        if not pod.ended
        for need in pod.needs
        for uuid, size_mib in _sizes_mib(pod, need, gpus, unit_mib).items()
    }


def held_by_gpu(pods: Iterable[BoundPod], gpus: Mapping[GpuUuid, GpuSample], unit_mib: int) -> dict[GpuUuid, int]:
    """MiB of each GPU that pods hold."""
    total: dict[GpuUuid, int] = {}
    for pod in pods:
        if not pod.ended:
            for uuid, size_mib in _held(pod, gpus, unit_mib).items():
                total[uuid] = total.get(uuid, 0) + size_mib
    return total


def gpus_held(pods: Iterable[BoundPod]) -> frozenset[GpuUuid]:
    """The GPUs that pods were given something of."""
    return frozenset(uuid for pod in pods if not pod.ended for placed in pod.allocated.values() for uuid in placed)


def core_by_container(pods: Iterable[BoundPod]) -> dict[tuple[ContainerKey, GpuUuid], int]:
    """Percent of each GPU's compute that each container with gpu-core was given: it is where the memory is.

    Plain init containers have none: the later containers reuse it.
    """
    return {
        (ContainerKey(pod.uid, need.name), uuid): percent
        for pod in pods
        if not pod.ended
        for need in pod.needs
        if need.kind is not ContainerKind.INIT
        for uuid, percent in _core_percent(pod, need).items()
    }


def core_by_gpu(pods: Iterable[BoundPod]) -> dict[GpuUuid, int]:
    """Percent of each GPU's compute that pods hold."""
    total: dict[GpuUuid, int] = {}
    for pod in pods:
        if not pod.ended:
            for uuid, percent in peak(pod, partial(_core_percent, pod)).items():
                total[uuid] = total.get(uuid, 0) + percent
    return total


def _held(pod: BoundPod, gpus: Mapping[GpuUuid, GpuSample], unit_mib: int) -> dict[GpuUuid, int]:
    return peak(pod, lambda need: _sizes_mib(pod, need, gpus, unit_mib))


def peak(pod: BoundPod, amounts: Callable[[ContainerNeed], Mapping[GpuUuid, int]]) -> dict[GpuUuid, int]:
    """What one pod holds at its peak: an init container and the sidecars before it, or all containers that run."""
    running: dict[GpuUuid, int] = {}
    peak: dict[GpuUuid, int] = {}
    for need in pod.needs:
        for uuid, amount in amounts(need).items():
            now = running.get(uuid, 0) + amount
            if need.kind is not ContainerKind.INIT:
                running[uuid] = now
            peak[uuid] = max(peak.get(uuid, 0), now)
    return peak


def _core_percent(pod: BoundPod, need: ContainerNeed) -> dict[GpuUuid, int]:
    placed = pod.allocated.get(need.name, {})
    return {uuid: -(-need.core_percent // len(placed)) for uuid in placed} if need.core_percent else {}


def _sizes_mib(
    pod: BoundPod, need: ContainerNeed, gpus: Mapping[GpuUuid, GpuSample], unit_mib: int
) -> dict[GpuUuid, int]:
    placed = pod.allocated.get(need.name, {})
    if need.whole_gpus:
        return {uuid: gpus[uuid].memory_mib for uuid in placed if uuid in gpus}
    return {uuid: units * unit_mib for uuid, units in placed.items()}
