"""Decides one Allocate call: the environment, mounts and CDI devices of the container, or a refusal.

The device IDs name the GPUs and the units on each, so no pod, API server or clock is needed.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum

from device_plugin.gpus.devices import DeviceIdError, describe, devices_on, gpu_of, parse_id
from device_plugin.gpus.gpu import Gpus, GpuSample
from device_plugin.kubelet.deciding.enforcement import Enforced, Mount, Share, enforce, enforce_core
from device_plugin.kubelet.deciding.matching import Occupied
from device_plugin.settings import DeviceListStrategy, MpsAccess, Resource, Rung
from extender.contract.units import CORE_PERCENT, GpuUuid, Units, mib_of


class RefusalKind(Enum):
    """What is wrong with a request; the last three depend on what is known of pods and what others hold."""

    UNKNOWN_DEVICE = "unknown_device"
    UNHEALTHY = "unhealthy"
    OCCUPIED = "occupied"
    SPREAD = "spread"
    MIG = "mig"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the container gets no devices; the reason is shown in the pod's event, so it names GPUs and numbers."""

    kind: RefusalKind
    reason: str


@dataclass(frozen=True, slots=True)
class Given:
    """What one container gets; `gpus` has the units on each GPU in NVML's order (a whole GPU: all its units).

    For gpu-core they are percent. `device_nodes` are paths, the same on the node and in the container.
    """

    gpus: Mapping[GpuUuid, Units]
    envs: Mapping[str, str]
    cdi_devices: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()
    device_nodes: tuple[str, ...] = ()


def units_by_gpu(resource: Resource, ids: Collection[str], gpus: Gpus) -> dict[GpuUuid, Units]:
    """Units that these IDs stand for on each GPU, in NVML's order; a whole GPU has all its units, and at least 1.

    For gpu-core they are percent.

    Raises:
        DeviceIdError: an ID that is not of that resource's form.
    """
    counts: dict[GpuUuid, int] = {}
    for device_id in ids:
        uuid = gpu_of(resource, device_id)
        counts[uuid] = counts.get(uuid, 0) + 1
    if resource is Resource.WHOLE:
        counts = {uuid: max(1, gpus.units(uuid)) for uuid in counts}
    return {uuid: Units(counts[uuid]) for uuid in sorted(counts, key=lambda uuid: (gpus.position(uuid), uuid))}


def allocate(
    resource: Resource,
    ids: Collection[str],
    gpus: Gpus,
    *,
    occupied: Occupied,
    spreads: Collection[int],
    takes_mig: bool = False,
    strategy: DeviceListStrategy = DeviceListStrategy.ENVVAR,
    mps: MpsAccess | None = None,
) -> Given | Refusal:
    """Decide one container's Allocate.

    `ids` are the devices that the kubelet picked, in any order; `occupied` are the GPUs that other containers hold;
    `spreads` are the numbers of GPUs over which a container of this size may be spread, one GPU where none is known;
    `takes_mig` says whether a MIG device is a whole GPU to the container; `mps` is how a container reaches the MPS
    daemon, where the node has one.

    Compute is never refused because of where its devices are: the container's memory decides where it runs, and the
    extender charges its compute there.
    """
    refusal = _unknown(resource, ids, gpus)
    if refusal is not None:
        return refusal
    amounts = units_by_gpu(resource, ids, gpus)
    samples = [sample for sample in gpus if sample.uuid in amounts]
    for sample in samples:
        if not sample.healthy:
            reason = f"GPU {sample.uuid} is unhealthy: {sample.reason or 'no reason known'}"
            return Refusal(RefusalKind.UNHEALTHY, reason)
        if resource is not Resource.CORE and sample.uuid in occupied.closed_to(resource):
            return Refusal(RefusalKind.OCCUPIED, _mixed(resource, sample))
    if resource is Resource.MEMORY and len(samples) not in (spreads or (1,)):
        return Refusal(RefusalKind.SPREAD, _split(amounts, spreads, gpus))
    if resource is not Resource.CORE:
        refusal = _mig_refusal(resource, samples, takes_mig=takes_mig)
        if refusal is not None:
            return refusal
    if resource is Resource.CORE:
        return _given_core(amounts, samples, spreads, mps)
    return _given(resource, amounts, samples, gpus, strategy=strategy, mps=mps)


def _given_core(
    amounts: Mapping[GpuUuid, Units], samples: Collection[GpuSample], spreads: Collection[int], mps: MpsAccess | None
) -> Given:
    """Compute hands no devices to the runtime: the container's memory does."""
    over = len(samples) if len(samples) in spreads else 1
    percent = min(CORE_PERCENT, -(-sum(amounts.values()) // over))
    enforced = enforce_core(percent, [sample.standing for sample in samples], mps)
    return Given(amounts, enforced.envs, (), enforced.mounts)


def _unknown(resource: Resource, ids: Collection[str], gpus: Gpus) -> Refusal | None:
    if not ids or len(set(ids)) != len(ids):
        return Refusal(RefusalKind.UNKNOWN_DEVICE, f"{len(ids)} device IDs, expected at least one and each once")
    for device_id in ids:
        try:
            uuid, number = parse_id(resource, device_id)
        except DeviceIdError as error:
            return Refusal(RefusalKind.UNKNOWN_DEVICE, str(error))
        if gpus.get(uuid) is None:
            return Refusal(RefusalKind.UNKNOWN_DEVICE, f"device {device_id!r}: this node has no GPU {uuid}")
        if number >= devices_on(resource, gpus, uuid):
            held = describe(resource, devices_on(resource, gpus, uuid), gpus.unit_mib)
            return Refusal(RefusalKind.UNKNOWN_DEVICE, f"device {device_id!r}: GPU {uuid} has only {held}")
    return None


def _mig_refusal(resource: Resource, samples: Collection[GpuSample], *, takes_mig: bool) -> Refusal | None:
    """Why MIG devices among these GPUs are not given: combined, or as the whole GPU of a container that means a GPU."""
    first = next((sample.uuid for sample in samples if sample.mig is not None), None)
    if first is None:
        return None
    if len(samples) > 1:
        return Refusal(RefusalKind.MIG, f"{first} is a MIG device, which a container can only have alone")
    if resource is Resource.WHOLE and not takes_mig:
        return Refusal(
            RefusalKind.MIG, f"{first} is a MIG device, given whole only to a pod whose gpu-model has MIG in it"
        )
    return None


def _mixed(resource: Resource, sample: GpuSample) -> str:
    if resource is Resource.MEMORY:
        return f"GPU {sample.uuid} is given to one container as a whole, expected a shared GPU"
    return f"GPU {sample.uuid} is shared by containers that hold its memory, expected a GPU that is entirely free"


def _split(amounts: Mapping[GpuUuid, Units], spreads: Collection[int], gpus: Gpus) -> str:
    size = describe(Resource.MEMORY, sum(amounts.values()), gpus.unit_mib)
    wanted = " or ".join(map(str, sorted(spreads or (1,))))
    parts = ", ".join(f"{units} on {uuid}" for uuid, units in amounts.items())
    where = f"spread over {len(amounts)} GPUs" if len(amounts) > 1 else "on one GPU"
    return f"{size} are free only {where} ({parts}), expected {wanted} for this container"


def _given(
    resource: Resource,
    amounts: Mapping[GpuUuid, Units],
    samples: Collection[GpuSample],
    gpus: Gpus,
    *,
    strategy: DeviceListStrategy,
    mps: MpsAccess | None,
) -> Given:
    uuids = ",".join(amounts)
    sizes_mib = [
        sample.memory_mib if resource is Resource.WHOLE else mib_of(amounts[sample.uuid], gpus.unit_mib)
        for sample in samples
    ]
    cdi = strategy is DeviceListStrategy.CDI_CRI
    envs = {
        # "void" keeps the nvidia runtime from injecting what the image's own NVIDIA_VISIBLE_DEVICES=all would ask for.
        "NVIDIA_VISIBLE_DEVICES": "void" if cdi else uuids,
        "GPUPACK_GPU_UUIDS": uuids,
        "GPUPACK_GPU_MEM_MIB": str(sum(sizes_mib)),
        "GPUPACK_GPU_MEM_MIB_PER_GPU": ",".join(map(str, sizes_mib)),
    }
    enforced = Enforced(Rung.ADVISORY)
    if resource is Resource.MEMORY:
        shares = [Share(sample.uuid, size, sample.memory_mib) for sample, size in zip(samples, sizes_mib, strict=True)]
        enforced = enforce(shares, {sample.uuid: sample.standing for sample in samples}, mps)
        envs |= enforced.envs
    return Given(amounts, envs, tuple(f"nvidia.com/gpu={uuid}" for uuid in amounts) if cdi else (), enforced.mounts)
