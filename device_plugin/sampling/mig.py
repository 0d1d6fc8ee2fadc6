"""Asks NVML for the MIG devices of a GPU; handles and numbers may be reused, so all of it is asked for every time.

Calls: https://docs.nvidia.com/deploy/nvml-api/group__nvmlMultiInstanceGPU.html
"""

from dataclasses import dataclass
from typing import Any

from device_plugin.gpus.answers import MemorySize, Told
from device_plugin.gpus.diagnosis import Checkup
from device_plugin.gpus.mig.slices import OLD_DRIVER, Listing, SeenSlice
from device_plugin.gpus.plausible import odd_uuid
from device_plugin.sampling.nvml_asking import (
    ask,
    memory_size,
    needs_recovery,
    row_remaps,
    unanswered,
    unknown_to_driver,
)
from device_plugin.sampling.nvml_session import MIB, text
from extender.contract.units import GpuUuid

_MOST_DEVICES = 64
"""More than any GPU has (7); an NVML that says more is not to be believed."""

_OLD_FORM = "MIG-GPU-"
"""How R450 to R460 began UUIDs of MIG devices: that of the GPU, and the IDs of the instances."""


@dataclass(frozen=True, slots=True)
class SliceHandles:
    """NVML's handles of the MIG devices of a GPU, by number.

    `most` is how many there can be, and `trouble` why there may be more than these.
    """

    handles: dict[int, Any]
    most: int = 0
    trouble: str = ""


def slice_handles(nvml: Any, card: Any) -> SliceHandles:
    """The MIG devices of a GPU at the moment."""
    most = ask(nvml, unknown_to_driver(nvml), nvml.nvmlDeviceGetMaxMigDeviceCount, card)
    if most.value is None or most.value > _MOST_DEVICES:
        return SliceHandles({}, trouble=most.trouble or f"it says {most.value} MIG devices")
    handles: dict[int, Any] = {}
    troubles: list[str] = []
    # What drivers say of numbers that no MIG device has.
    gap = {nvml.NVML_ERROR_NOT_FOUND, nvml.NVML_ERROR_INVALID_ARGUMENT}
    for number in range(most.value):
        handle = ask(nvml, gap, nvml.nvmlDeviceGetMigDeviceHandleByIndex, card, number)
        if handle.value is not None:
            handles[number] = handle.value
        elif handle.trouble:
            troubles.append(handle.trouble)
    return SliceHandles(handles, most.value, next(iter(troubles), ""))


def list_slices(nvml: Any, card: Any) -> Listing:
    """The MIG devices of a GPU, and what they say of themselves."""
    found = slice_handles(nvml, card)
    slices = tuple(_look(nvml, number, handle) for number, handle in found.handles.items())
    return Listing(slices, found.most, found.trouble)


def check_up_card(nvml: Any, card: Any) -> Checkup:
    """What the driver answers about the health of a GPU in MIG mode; few may ask how much memory all of it has."""
    rows = row_remaps(nvml, card)
    return Checkup(Told(), rows) if rows.is_lost else Checkup(Told(), rows, needs_recovery(nvml, card))


def _look(nvml: Any, number: int, handle: Any) -> SeenSlice:
    uuid, problem = _identity(nvml, handle)
    gi = ask(nvml, (), nvml.nvmlDeviceGetGpuInstanceId, handle)
    if uuid is None:
        # It may share its memory with one that is offered.
        return SeenSlice(number, gi=gi.value, problem=problem)
    ci = ask(nvml, (), nvml.nvmlDeviceGetComputeInstanceId, handle)
    model = ask(nvml, (), nvml.nvmlDeviceGetName, handle)
    attributes = ask(nvml, unanswered(nvml), nvml.nvmlDeviceGetAttributes_v2, handle)
    memory = memory_size(nvml, handle, unanswered(nvml))
    size = memory.value
    if size is None and attributes.value is not None:
        size = MemorySize(int(attributes.value.memorySizeMB) * MIB)
    troubles = [each.trouble for each in (gi, ci, model, attributes, memory) if each.trouble]
    return SeenSlice(
        device=number,
        uuid=uuid,
        gi=gi.value,
        ci=ci.value,
        model=text(model.value or ""),
        memory=size,
        gpu_slices=None if attributes.value is None else int(attributes.value.gpuInstanceSliceCount),
        compute_slices=None if attributes.value is None else int(attributes.value.computeInstanceSliceCount),
        problem=f"NVML: {troubles[0]}" if troubles else "",
    )


def _identity(nvml: Any, handle: Any) -> tuple[GpuUuid | None, str]:
    """The UUID of a MIG device, or None and why it has none."""
    told = ask(nvml, (), nvml.nvmlDeviceGetUUID, handle)
    if told.value is None:
        return None, f"NVML does not say its UUID: {told.trouble}"
    uuid = text(told.value)
    problem = OLD_DRIVER if uuid.startswith(_OLD_FORM) else odd_uuid(uuid)
    return (None, problem) if problem else (GpuUuid(uuid), "")
