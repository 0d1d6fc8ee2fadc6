"""Cuts a GPU of the simulated NVIDIA driver into MIG devices, with the IDs and UUIDs that a driver would give them."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from bench.simulated.nvml.state import MAX_SLICES, DriverGpu, DriverSlice
from extender.contract.mig import MigProfile, parse_profile

_MIB = 1024 * 1024
_MULTIPROCESSORS_PER_SLICE = 14
_GPU_INSTANCES = {7: (0,), 4: (1, 2), 3: (2, 1), 2: (3, 4, 5, 6)}
"""IDs of GPU instances by their number of slices, as an A100 gives them; the others count from 7."""


@dataclass(slots=True)
class _Instance:
    profile: MigProfile
    gi: int
    devices: int = 0
    compute_slices: int = 0


def slice_gpu(gpu: DriverGpu, profiles: Sequence[str], *, reserved_mib: int = 0) -> None:
    """Turn MIG mode on and replace all MIG devices of a GPU by these, in the order of NVML's numbers.

    A profile such as `1c.3g.20gb` is a compute instance that shares a GPU instance with those of that size before it,
    while it has room. The same IDs always get the same UUID, whatever the size.

    Raises:
        ValueError: an unknown profile, or more devices than there is room for.
    """
    parsed = [parse_profile(name) for name in profiles]
    if None in parsed or len(parsed) > MAX_SLICES:
        raise ValueError(f"MIG devices {list(profiles)}: expected at most {MAX_SLICES} names such as 1g.10gb")
    gpu.mig = 1
    for place in range(MAX_SLICES):
        gpu.slices[place] = DriverSlice()
    instances: list[_Instance] = []
    for place, profile in enumerate(each for each in parsed if each is not None):
        instance = _instance_for(profile, instances)
        gpu.slices[place] = _device(gpu, profile, instance, reserved_mib)
        instance.devices += 1
        instance.compute_slices += profile.compute_slices


def destroy_slice(gpu: DriverGpu, device: int) -> None:
    """Leave a gap where that MIG device was."""
    gpu.slices[device] = DriverSlice()


def _instance_for(profile: MigProfile, instances: list[_Instance]) -> _Instance:
    if instances and profile.compute_slices < profile.gpu_slices:
        last = instances[-1]
        is_same_size = (last.profile.gpu_slices, last.profile.memory_gb) == (profile.gpu_slices, profile.memory_gb)
        if is_same_size and last.compute_slices + profile.compute_slices <= profile.gpu_slices:
            return last
    taken = {each.gi for each in instances}
    choices = (*_GPU_INSTANCES.get(profile.gpu_slices, ()), *range(7, 7 + MAX_SLICES))
    instances.append(_Instance(profile, next(gi for gi in choices if gi not in taken)))
    return instances[-1]


def _device(gpu: DriverGpu, profile: MigProfile, instance: _Instance, reserved_mib: int) -> DriverSlice:
    made = DriverSlice(present=1, gpu_instance=instance.gi, compute_instance=instance.devices)
    made.uuid = slice_uuid(gpu.uuid.decode(), instance.gi, instance.devices).encode()
    made.name = f"{gpu.name.decode()} MIG {profile.name}"[:95].encode()
    made.total_bytes = (profile.memory_mib + reserved_mib) * _MIB
    made.reserved_bytes = reserved_mib * _MIB
    made.gpu_slices, made.compute_slices = profile.gpu_slices, profile.compute_slices
    made.multiprocessors = profile.compute_slices * _MULTIPROCESSORS_PER_SLICE
    return made


def slice_uuid(parent: str, gi: int, ci: int) -> str:
    """The UUID of the MIG device with those IDs on a GPU, a hash of them as with the real driver."""
    return f"MIG-{uuid.uuid5(uuid.NAMESPACE_OID, f'{parent}/{gi}/{ci}')}"
