"""Reads memory, processes, utilization, temperature, power and memory errors of every GPU through NVML.

Every call may fail on its own: what the driver does not say is None, and a GPU that is lost costs only its own reading.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

from device_plugin.gpus.gpu import GpuSourceError
from device_plugin.gpus.plausible import LARGEST_BYTES
from device_plugin.gpus.readings import GpuFacts, GpuProcess, GpuReading
from device_plugin.sampling.mig import slice_handles
from device_plugin.sampling.nvml_asking import gpu_count, identify, memory_struct, mig_mode, slot_of, uuid_of
from device_plugin.sampling.nvml_session import (
    GpuLostError,
    NvmlSession,
    answer_of,
    check_lost,
    kernel_bus_id,
    latest_sm_percent,
    ratio,
    remaps,
    text,
    union,
)
from extender.contract.units import GpuUuid


class NvmlReader:
    """A `ReadingSource` over NVML.

    Args:
        load: imports the pynvml module.
        with_slices: whether GPUs in MIG mode and their MIG devices are read, too.
    """

    def __init__(self, load: Callable[[], Any], *, with_slices: bool = False) -> None:
        self._session = NvmlSession(load)
        self._with_slices = with_slices
        self._lock = threading.Lock()
        self._facts: dict[GpuUuid, GpuFacts] = {}
        self._asked: set[GpuUuid] = set()
        """Whose facts are from this session: between two, the driver may have been updated, or a GPU moved."""
        self._utilization_us: dict[GpuUuid, int] = {}

    def read(self) -> tuple[GpuReading, ...]:
        """A reading of every GPU that answers, in NVML's order.

        Raises:
            GpuSourceError: NVML cannot start, or cannot count its GPUs.
        """
        if not self._session.is_started:
            self._asked.clear()
        nvml = self._session.start()
        try:
            count = gpu_count(nvml)
        except GpuSourceError:
            self._session.end()
            raise
        return tuple(reading for index in range(count) for reading in self._read_one(nvml, index))

    def facts(self) -> tuple[GpuFacts, ...]:
        """The facts about all GPUs that were read so far."""
        with self._lock:
            return tuple(self._facts.values())

    def close(self) -> None:
        """Shut NVML down."""
        self._session.end()

    def _read_one(self, nvml: Any, index: int) -> list[GpuReading]:
        """What is measured of the GPU at an index; one that is lost half-way has what it said before.

        `NvmlSource` reports why; here only measurements are missing.
        """
        seen = identify(nvml, index)
        if seen.uuid is None:
            return []
        if mig_mode(nvml, seen.handle).value:
            return self._read_sliced(nvml, seen.handle, seen.uuid) if self._with_slices else []
        reading = GpuReading(seen.uuid)
        try:
            reading = self._use(nvml, seen.handle, reading)
            self._learn(nvml, seen.handle, seen.uuid)
            return [_measured(nvml, seen.handle, reading)]
        except GpuLostError:
            return [reading]

    def _read_sliced(self, nvml: Any, handle: Any, uuid: GpuUuid) -> list[GpuReading]:
        """What is measured of a GPU in MIG mode, and of each of its MIG devices: their memory and processes."""
        whole = GpuReading(uuid, is_sliced=True)
        try:
            facts = self._learn(nvml, handle, uuid)
            whole = _measured(nvml, handle, whole)
        except GpuLostError:
            return [whole]
        found = [whole]
        for part in slice_handles(nvml, handle).handles.values():
            own = uuid_of(nvml, part).value
            if own is None:
                continue
            reading = GpuReading(own)
            with suppress(GpuLostError):
                reading = self._use(nvml, part, reading)
            found.append(reading)
            with self._lock:
                # There is no NVLink between MIG devices.
                self._facts[own] = replace(facts, uuid=own, nvlinks=())
        return found

    def _learn(self, nvml: Any, handle: Any, uuid: GpuUuid) -> GpuFacts:
        """The facts about a GPU.

        Raises:
            GpuLostError: the GPU does not answer.
        """
        if uuid in self._asked:
            return self._facts[uuid]
        facts = facts_of(nvml, handle, uuid)
        with self._lock:
            self._facts[uuid] = facts
        self._asked.add(uuid)
        return facts

    def _use(self, nvml: Any, handle: Any, reading: GpuReading) -> GpuReading:
        """The memory in use on the GPU, and by which processes.

        Raises:
            GpuLostError: the GPU does not answer.
        """
        memory = _memory(nvml, handle)
        most = LARGEST_BYTES
        if memory is not None:
            most = int(memory.total) if 0 < memory.total <= LARGEST_BYTES else LARGEST_BYTES
            reserved = getattr(memory, "reserved", None)
            reading = replace(
                reading,
                used_bytes=min(most, int(memory.used)),
                reserved_bytes=None if reserved is None else min(most, int(reserved)),
            )
        try:
            processes = self._processes(nvml, handle, reading.uuid)
        except GpuLostError:
            return reading
        return replace(reading, processes=None if processes is None else tuple(_within(most, processes)))

    def _processes(self, nvml: Any, handle: Any, uuid: GpuUuid) -> tuple[GpuProcess, ...] | None:
        """All processes on the GPU; None when the driver does not even list compute processes."""
        compute = _listed(nvml, handle, "Compute")
        if compute is None:
            return None
        lists = (compute, _listed(nvml, handle, "Graphics"), _listed(nvml, handle, "MPSCompute"))
        return union(lists, self._sm_percent(nvml, handle, uuid) if any(lists) else None)

    def _sm_percent(self, nvml: Any, handle: Any, uuid: GpuUuid) -> dict[int, int] | None:
        since_us = self._utilization_us.get(uuid, 0)
        try:
            samples = nvml.nvmlDeviceGetProcessUtilization(handle, since_us)
        except nvml.NVMLError as error:
            check_lost(nvml, error)
            # No process computed since then.
            return {} if error.value == nvml.NVML_ERROR_NOT_FOUND else None
        percents, last_us = latest_sm_percent(samples)
        self._utilization_us[uuid] = max(since_us, last_us)
        return percents


def _within(most_bytes: int, processes: Iterable[GpuProcess]) -> Iterator[GpuProcess]:
    """No process uses more than the GPU has, whatever the driver says."""
    for process in processes:
        used = process.used_bytes
        yield process if used is None or used <= most_bytes else replace(process, used_bytes=most_bytes)


def _measured(nvml: Any, handle: Any, reading: GpuReading) -> GpuReading:
    """A reading with all that is measured besides memory and processes.

    Raises:
        GpuLostError: the GPU does not answer.
    """
    rates = answer_of(nvml, nvml.nvmlDeviceGetUtilizationRates, handle)
    power_mw = answer_of(nvml, nvml.nvmlDeviceGetPowerUsage, handle)
    rows = answer_of(nvml, nvml.nvmlDeviceGetRemappedRows, handle)
    pending = answer_of(nvml, nvml.nvmlDeviceGetRetiredPagesPendingStatus, handle)
    return replace(
        reading,
        busy_ratio=None if rates is None else ratio(rates.gpu),
        memory_busy_ratio=None if rates is None else ratio(rates.memory),
        temperature_celsius=_temperature(nvml, handle),
        power_watts=None if power_mw is None else power_mw / 1000,
        corrected_errors=_errors(nvml, handle, nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED),
        uncorrected_errors=_errors(nvml, handle, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED),
        row_remaps=None if rows is None else remaps(rows),
        retired_pages=_retired_pages(nvml, handle),
        is_retirement_pending=None if pending is None else bool(pending),
    )


def facts_of(nvml: Any, handle: Any, uuid: GpuUuid) -> GpuFacts:
    """Facts about a GPU that do not change while the driver runs.

    Raises:
        GpuLostError: the GPU does not answer.
    """
    slot = slot_of(nvml, handle)
    if slot.is_lost:
        raise GpuLostError(slot.trouble)
    capability = answer_of(nvml, nvml.nvmlDeviceGetCudaComputeCapability, handle)
    version = answer_of(nvml, nvml.nvmlSystemGetDriverVersion)
    return GpuFacts(
        uuid=uuid,
        pci_bus_id=slot.value,
        minor_number=answer_of(nvml, nvml.nvmlDeviceGetMinorNumber, handle),
        compute_capability=None if capability is None else f"{capability[0]}.{capability[1]}",
        driver_version=None if version is None else text(version),
        pcie_generation=answer_of(nvml, nvml.nvmlDeviceGetMaxPcieLinkGeneration, handle),
        pcie_lanes=answer_of(nvml, nvml.nvmlDeviceGetMaxPcieLinkWidth, handle),
        nvlinks=_nvlinks(nvml, handle),
    )


def _nvlinks(nvml: Any, handle: Any) -> tuple[tuple[str, int], ...]:
    """Active links by the PCI bus ID at their other end."""
    peers: dict[str, int] = {}
    for link in range(nvml.NVML_NVLINK_MAX_LINKS):
        state = answer_of(nvml, nvml.nvmlDeviceGetNvLinkState, handle, link)
        if state is None:
            break  # the GPU does not have this link, nor any after it
        remote = answer_of(nvml, _bus_id_at_other_end, nvml, handle, link) if state else None
        if remote is not None:
            peer = kernel_bus_id(remote)
            peers[peer] = peers.get(peer, 0) + 1
    return tuple(sorted(peers.items()))


def _memory(nvml: Any, handle: Any) -> Any | None:
    """The struct of memory sizes; None when it is not known.

    Raises:
        GpuLostError: the GPU does not answer.
    """
    found = memory_struct(nvml, handle)
    if found.is_lost:
        raise GpuLostError(found.trouble)
    return found.value


def _bus_id_at_other_end(nvml: Any, handle: Any, link: int) -> str:
    bus_id: str = nvml.nvmlDeviceGetNvLinkRemotePciInfo(handle, link).busId
    return bus_id


def _listed(nvml: Any, handle: Any, kind: str) -> list[Any] | None:
    """The processes of one kind, from the newest version of the call that the driver has."""
    for version in ("_v3", "_v2"):
        call = getattr(nvml, f"nvmlDeviceGet{kind}RunningProcesses{version}")
        try:
            return list(call(handle))
        except nvml.NVMLError as error:
            if error.value != nvml.NVML_ERROR_FUNCTION_NOT_FOUND:
                check_lost(nvml, error)
                return None
    return None


def _temperature(nvml: Any, handle: Any) -> int | None:
    found = answer_of(nvml, nvml.nvmlDeviceGetTemperatureV, handle, nvml.NVML_TEMPERATURE_GPU)
    if found is None:
        found = answer_of(nvml, nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU)
    return found


def _errors(nvml: Any, handle: Any, kind: int) -> int | None:
    return answer_of(nvml, nvml.nvmlDeviceGetTotalEccErrors, handle, kind, nvml.NVML_VOLATILE_ECC)


def _retired_pages(nvml: Any, handle: Any) -> int | None:
    """Pages retired for either cause; None when the driver reports neither."""
    causes = (
        nvml.NVML_PAGE_RETIREMENT_CAUSE_MULTIPLE_SINGLE_BIT_ECC_ERRORS,
        nvml.NVML_PAGE_RETIREMENT_CAUSE_DOUBLE_BIT_ECC_ERROR,
    )
    lists = [answer_of(nvml, nvml.nvmlDeviceGetRetiredPages, handle, cause) for cause in causes]
    return None if all(pages is None for pages in lists) else sum(len(pages or ()) for pages in lists)
