"""Asks NVML about one GPU and tells apart what it answers, what it has no answer to, and what fails.

Return codes: https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceEnumvs.html
"""

import ctypes
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from device_plugin.gpus.answers import MemorySize, Told
from device_plugin.gpus.diagnosis import Checkup
from device_plugin.gpus.gpu import GpuSourceError
from device_plugin.gpus.plausible import numa_node_of, odd_memory, odd_model, odd_uuid
from device_plugin.gpus.readings import RowRemaps
from device_plugin.sampling.nvml_session import kernel_bus_id, lost_codes, remaps, text
from extender.contract.units import GpuUuid

_MOST_GPUS = 1024
"""More than any machine has; an NVML that counts more is not to be believed."""

T = TypeVar("T")
S = TypeVar("S")


def unknown_to_driver(nvml: Any) -> frozenset[int]:
    """NVML's return codes for a question that this driver or this kind of GPU does not know at all."""
    return frozenset(
        {
            nvml.NVML_ERROR_NOT_SUPPORTED,
            nvml.NVML_ERROR_FUNCTION_NOT_FOUND,
            nvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
            nvml.NVML_ERROR_DEPRECATED,
        }
    )


def unanswered(nvml: Any) -> frozenset[int]:
    """Those, and what a driver may say when it does not want to tell or has nothing to tell.

    Older drivers call the number of a newer field an invalid argument.
    """
    return unknown_to_driver(nvml) | {
        nvml.NVML_ERROR_NO_PERMISSION,
        nvml.NVML_ERROR_NO_DATA,
        nvml.NVML_ERROR_VGPU_ECC_NOT_SUPPORTED,
        nvml.NVML_ERROR_INVALID_ARGUMENT,
    }


def ask(nvml: Any, silent: Iterable[int], call: Callable[..., T], *arguments: Any, **options: Any) -> Told[T]:
    """What came of a call; a code of `silent` means that there is no answer, any other one is trouble."""
    try:
        return Told(call(*arguments, **options))
    except nvml.NVMLError as error:
        if error.value in silent:
            return Told()
        return Told(trouble=str(error), is_lost=error.value in lost_codes(nvml))
    except UnicodeError:
        # The binding decodes texts itself.
        return Told(trouble="its answer is no UTF-8 text")


def converted(answer: Told[S], convert: Callable[[S], T]) -> Told[T]:
    """The same answer in another form."""
    return Told(None if answer.value is None else convert(answer.value), answer.trouble, answer.is_lost)


@dataclass(frozen=True, slots=True)
class SeenGpu:
    """What NVML has at an index at the moment.

    Args:
        index: NVML index; after a GPU was removed it is another GPU's.
        handle: NVML's; None when it gives none.
        uuid: None when NVML does not say it, or says one that cannot be.
        problem: why it has no UUID.
    """

    index: int
    handle: Any = None
    uuid: GpuUuid | None = None
    problem: str = ""


def identify(nvml: Any, index: int) -> SeenGpu:
    """Which GPU is at an index at the moment."""
    handle = ask(nvml, (), nvml.nvmlDeviceGetHandleByIndex, index)
    if handle.value is None:
        return SeenGpu(index, problem=handle.trouble)
    uuid = uuid_of(nvml, handle.value)
    return SeenGpu(index, handle.value, uuid.value, uuid.trouble)


def uuid_of(nvml: Any, handle: Any) -> Told[GpuUuid]:
    """The UUID of a GPU; one that cannot be is trouble."""
    told = ask(nvml, (), nvml.nvmlDeviceGetUUID, handle)
    if told.value is None:
        return Told(trouble=f"NVML does not say its UUID: {told.trouble}", is_lost=told.is_lost)
    uuid = text(told.value)
    problem = odd_uuid(uuid)
    return Told(trouble=problem) if problem else Told(GpuUuid(uuid))


def gpu_count(nvml: Any) -> int:
    """How many GPUs NVML shows.

    Raises:
        GpuSourceError: it does not say, or says a number that cannot be.
    """
    count: Told[int] = ask(nvml, (), nvml.nvmlDeviceGetCount)
    if count.value is None:
        raise GpuSourceError(f"NVML cannot count the GPUs: {count.trouble}")
    if count.value > _MOST_GPUS:
        raise GpuSourceError(f"NVML shows {count.value} GPUs")
    return count.value


def pointer_of(handle: Any) -> int | None:
    """The address that a handle is, by which NVML names a GPU even when it answers nothing any more."""
    return ctypes.cast(handle, ctypes.c_void_p).value


def slot_of(nvml: Any, handle: Any) -> Told[str]:
    """The PCI bus ID of a GPU, as the kernel writes it."""
    return converted(ask(nvml, unanswered(nvml), lambda: nvml.nvmlDeviceGetPciInfo(handle).busId), kernel_bus_id)


def mig_mode(nvml: Any, handle: Any) -> Told[bool]:
    """Whether the GPU is split into MIG devices; no answer from GPUs that cannot be."""
    modes = ask(nvml, unknown_to_driver(nvml), nvml.nvmlDeviceGetMigMode, handle)
    return converted(modes, lambda found: bool(found[0] == nvml.NVML_DEVICE_MIG_ENABLE))


def memory_struct(nvml: Any, handle: Any, silent: Iterable[int] | None = None) -> Told[Any]:
    """The struct of memory sizes: v2, which has the reserved part, or else v1, where it is part of `used`.

    No answer from GPUs that share the machine's memory (GB10, Jetson), and with the codes of `silent`.
    """
    silent = unknown_to_driver(nvml) if silent is None else silent
    newer = ask(nvml, silent, nvml.nvmlDeviceGetMemoryInfo, handle, version=nvml.nvmlMemory_v2)
    if newer.value is not None or newer.trouble:
        return newer
    return ask(nvml, silent, nvml.nvmlDeviceGetMemoryInfo, handle)


def memory_size(nvml: Any, handle: Any, silent: Iterable[int] | None = None) -> Told[MemorySize]:
    """How much memory the GPU has; no answer with the codes of `silent`."""
    found = memory_struct(nvml, handle, silent)
    return converted(
        found, lambda struct: MemorySize(int(struct.total), int(getattr(struct, "reserved", 0)), int(struct.used))
    )


def row_remaps(nvml: Any, handle: Any) -> Told[RowRemaps]:
    """The rows of memory that were replaced."""
    return converted(ask(nvml, unanswered(nvml), nvml.nvmlDeviceGetRemappedRows, handle), remaps)


def needs_recovery(nvml: Any, handle: Any) -> Told[bool]:
    """Whether the driver says that the GPU must be reset or the node rebooted."""
    silent = unanswered(nvml)
    fields = [nvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION]
    found = ask(nvml, silent, nvml.nvmlDeviceGetFieldValues, handle, fields)
    if found.value is None:
        return Told(trouble=found.trouble, is_lost=found.is_lost)
    (field,) = found.value
    if field.nvmlReturn == nvml.NVML_SUCCESS:
        return Told(bool(field.value.uiVal != nvml.NVML_GPU_RECOVERY_ACTION_NONE))
    if field.nvmlReturn in silent:
        return Told()
    return Told(trouble=str(nvml.NVMLError(field.nvmlReturn)), is_lost=field.nvmlReturn in lost_codes(nvml))


def check_up(nvml: Any, handle: Any) -> Checkup:
    """What the driver answers about the health of one GPU; a lost one is asked no further."""
    memory = memory_size(nvml, handle)
    if memory.is_lost:
        return Checkup(memory)
    rows = row_remaps(nvml, handle)
    if rows.is_lost:
        return Checkup(memory, rows)
    return Checkup(memory, rows, needs_recovery(nvml, handle))


@dataclass(frozen=True, slots=True)
class Description:
    """What does not change of a GPU while NVML runs; `problem` says why that cannot be known.

    `memory` is None where NVML does not say it.
    """

    model: str = ""
    memory: MemorySize | None = None
    numa_node: int | None = None
    problem: str = ""


def describe(nvml: Any, handle: Any, sysfs_pci: Path) -> Description:
    """What a GPU is that is seen for the first time; `sysfs_pci` is where the kernel shows PCI devices."""
    model = converted(ask(nvml, (), nvml.nvmlDeviceGetName, handle), text)
    if model.value is None:
        return Description(problem=f"NVML does not say its name: {model.trouble}")
    memory = memory_size(nvml, handle)
    if memory.trouble:
        return Description(problem=f"NVML does not say how much memory it has: {memory.trouble}")
    problem = odd_model(model.value) or ("" if memory.value is None else odd_memory(memory.value))
    return Description(model.value, memory.value, numa_node(nvml, handle, sysfs_pci), problem)


def numa_node(nvml: Any, handle: Any, sysfs_pci: Path) -> int | None:
    """The NUMA node of its slot; where the kernel does not know it, what NVML says.

    NVML comes second: on Grace it names the node that is the GPU's memory and has no CPUs.
    """
    slot = slot_of(nvml, handle).value
    found = None if slot is None else numa_node_of(_numa_node_of_slot(sysfs_pci / slot))
    if found is not None:
        return found
    return numa_node_of(ask(nvml, unanswered(nvml), nvml.nvmlDeviceGetNumaNodeId, handle).value)


def _numa_node_of_slot(folder: Path) -> int | None:
    try:
        return int((folder / "numa_node").read_text())
    except (OSError, ValueError):
        return None
