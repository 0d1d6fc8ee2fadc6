"""Describes what the driver measures of each GPU at one moment; None everywhere means that it does not say."""

from dataclasses import dataclass, field
from typing import Protocol

from extender.contract.units import GpuUuid


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """One process that holds memory or a context of a GPU.

    Args:
        pid: in the PID namespace that the driver reports.
        used_bytes: its memory on this GPU.
        sm_ratio: share of the GPU's multiprocessor time that it took recently, 0 to 1.
    """

    pid: int
    used_bytes: int | None = None
    sm_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class RowRemaps:
    """Rows of memory that were replaced by spare ones after errors.

    `is_pending`: some need a reset of the GPU; `has_failed`: no spare row was left.
    Source: https://docs.nvidia.com/deploy/a100-gpu-mem-error-mgmt
    """

    correctable: int
    uncorrectable: int
    is_pending: bool
    has_failed: bool


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One GPU at one moment.

    Args:
        uuid: NVML UUID.
        used_bytes: memory in use, without what the driver reserves for itself.
        reserved_bytes: what the driver and the firmware reserve.
        busy_ratio: share of the last sample period in which a kernel ran, 0 to 1.
        memory_busy_ratio: share of it in which memory was read or written, 0 to 1.
        temperature_celsius: of the chip.
        power_watts: drawn at the moment.
        corrected_errors: ECC errors since the driver was loaded that were corrected.
        uncorrected_errors: those that were not.
        row_remaps: replaced rows; Ampere and newer.
        retired_pages: pages taken out of use; older than Ampere.
        is_retirement_pending: whether pages wait for a reset to be taken out.
        processes: all processes on the GPU, each once.
        is_sliced: whether it is in MIG mode, so that memory and processes are those of its MIG devices, each of which
            has a reading of its own.
    """

    uuid: GpuUuid
    used_bytes: int | None = None
    reserved_bytes: int | None = None
    busy_ratio: float | None = None
    memory_busy_ratio: float | None = None
    temperature_celsius: int | None = None
    power_watts: float | None = None
    corrected_errors: int | None = None
    uncorrected_errors: int | None = None
    row_remaps: RowRemaps | None = None
    retired_pages: int | None = None
    is_retirement_pending: bool | None = None
    processes: tuple[GpuProcess, ...] | None = None
    is_sliced: bool = False


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """Facts about a GPU that do not change while the driver runs.

    Args:
        uuid: NVML UUID.
        pci_bus_id: as the kernel writes it, `0000:3b:00.0`.
        minor_number: the N of /dev/nvidiaN; it may have gaps and is not the index.
        compute_capability: such as `9.0`.
        driver_version: of the kernel module.
        pcie_generation: the best that slot and GPU can do.
        pcie_lanes: likewise.
        nvlinks: active links by the PCI bus ID of what is at their other end: a GPU, or a switch.
    """

    uuid: GpuUuid
    pci_bus_id: str | None = None
    minor_number: int | None = None
    compute_capability: str | None = None
    driver_version: str | None = None
    pcie_generation: int | None = None
    pcie_lanes: int | None = None
    nvlinks: tuple[tuple[str, int], ...] = field(default=())


class ReadingSource(Protocol):
    """Where readings come from: NVML, or a file that describes simulated GPUs."""

    def read(self) -> tuple[GpuReading, ...]:
        """A reading of every GPU that can be reached; one that is lost is left out or has only its UUID.

        Raises:
            GpuSourceError: no GPU can be read.
        """
        ...

    def facts(self) -> tuple[GpuFacts, ...]:
        """The facts about all GPUs that were read so far."""
        ...

    def close(self) -> None:
        """Release what the source holds; it is not used afterwards."""
        ...
