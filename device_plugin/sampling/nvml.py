"""Samples real GPUs through NVML; the pynvml binding is imported only here.

A call that fails only costs its own answer: a GPU that cannot be queried is unhealthy with the error as its reason,
and an NVML that cannot start is a `GpuSourceError`, after which sampling is tried again.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from device_plugin.gpus.gpu import GpuSample, GpuSourceError
from device_plugin.sampling.nvml_reading import is_mig, memory_of
from device_plugin.sampling.nvml_session import (
    GpuLostError,
    NvmlSession,
    answer_of,
    kernel_bus_id,
    mib,
    remaps,
    text,
    usable_bytes,
)
from device_plugin.sampling.xids import XidListener, XidRecord
from extender.contract.units import GpuUuid

_LOG = logging.getLogger(__name__)

_SYSFS_PCI = Path("/sys/bus/pci/devices")
_MIG = "MIG is enabled on it, and MIG devices are not shared further"


def load_pynvml() -> Any:
    """The pynvml module, imported only for real GPUs."""
    import pynvml  # noqa: PLC0415 - see above

    return pynvml


class NvmlSource:
    """A `GpuSource` over NVML.

    Args:
        load: imports the pynvml module.
        clock_s: monotonic seconds.
        sysfs_pci: where the kernel shows PCI devices and their NUMA nodes.
        ignored_xids: XIDs that do not make a GPU unhealthy, in addition to those of applications.
        on_xid: called after an XID that makes a GPU unhealthy.
    """

    def __init__(
        self,
        load: Callable[[], Any] = load_pynvml,
        clock_s: Callable[[], float] = time.monotonic,
        sysfs_pci: Path = _SYSFS_PCI,
        ignored_xids: frozenset[int] = frozenset(),
        on_xid: Callable[[], None] = lambda: None,
    ) -> None:
        self._session = NvmlSession(load)
        self._clock_s = clock_s
        self._sysfs_pci = sysfs_pci
        self._by_index: dict[int, GpuSample] = {}
        self._ever: dict[GpuUuid, GpuSample] = {}
        self._lost: set[int] = set()
        self._left_out: dict[int, str] = {}
        self._xids = XidRecord(ignored_xids)
        self._xid_counts: Counter[tuple[GpuUuid | None, int]] = Counter()
        self._on_xid = on_xid
        self._listener = XidListener(load, self._take)

    @property
    def left_out(self) -> Mapping[str, str]:
        """Why GPUs are not offered at all, by NVML index."""
        return {str(index): why for index, why in self._left_out.items()}

    @property
    def xid_counts(self) -> Mapping[tuple[GpuUuid | None, int], int]:
        """How often each XID was seen on each GPU; the GPU is None when the driver did not say which."""
        return dict(self._xid_counts)

    def sample(self) -> tuple[GpuSample, ...]:
        """Every GPU that can be shared, in NVML's order; MIG-enabled ones are left out.

        A GPU that disappeared stays, unhealthy.

        Raises:
            GpuSourceError: NVML cannot start, or cannot count its GPUs.
        """
        is_new = not self._session.is_started
        nvml = self._session.start()
        try:
            count = nvml.nvmlDeviceGetCount()
        except nvml.NVMLError as error:
            self._session.end()
            raise GpuSourceError(f"NVML cannot count the GPUs: {error}") from error
        if is_new:
            # An index may mean another GPU now.
            self._by_index.clear()
            self._listener.renew()
            self._listener.start()
        before, self._left_out = self._left_out, {}
        found = {sample.uuid: sample for index in range(count) if (sample := self._sample_one(nvml, index))}
        self._log_left_out(before)
        missing = [
            replace(known, healthy=False, reason=f"NVML no longer shows it{self._unidentified()}")
            for uuid, known in self._ever.items()
            if uuid not in found
        ]
        return tuple(sorted([*found.values(), *missing], key=lambda sample: sample.index))

    def close(self) -> None:
        """Stop listening for XIDs and let NVML go."""
        self._listener.stop()
        self._session.end()

    def _sample_one(self, nvml: Any, index: int) -> GpuSample | None:
        known = self._by_index.get(index)
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            if is_mig(nvml, handle):
                self._left_out[index] = _MIG
                if known is not None:
                    del self._by_index[index]
                    self._ever.pop(known.uuid, None)
                return None
            sample = known or self._first_look(nvml, handle, index)
            problem = self._problem(nvml, handle, sample.uuid)
        except (nvml.NVMLError, GpuLostError) as error:
            if known is None:
                self._left_out[index] = f"it could never be queried: {error}"
                return None
            self._lost.add(index)
            return replace(known, healthy=False, reason=f"NVML: {error}")
        if index in self._lost:
            self._lost.discard(index)
            self._listener.renew()
        return replace(sample, healthy=False, reason=problem) if problem else sample

    def _first_look(self, nvml: Any, handle: Any, index: int) -> GpuSample:
        """The sample of a GPU seen for the first time, with what does not change while NVML runs."""
        memory = memory_of(nvml, handle)
        if memory is None:
            raise GpuLostError("its memory size is not known")
        sample = GpuSample(
            uuid=GpuUuid(text(nvml.nvmlDeviceGetUUID(handle))),
            index=index,
            model=text(nvml.nvmlDeviceGetName(handle)),
            memory_mib=mib(usable_bytes(memory)),
            numa_node=self._numa_node(nvml, handle),
        )
        self._by_index[index] = self._ever[sample.uuid] = sample
        return sample

    def _problem(self, nvml: Any, handle: Any, uuid: GpuUuid) -> str:
        """Why a GPU must not be used; empty when it may.

        Raises:
            GpuLostError: it no longer answers.
        """
        memory_of(nvml, handle)
        rows = remaps(answer_of(nvml, nvml.nvmlDeviceGetRemappedRows, handle))
        if rows is not None and rows.has_failed:
            return "row remapping failed: no spare memory is left, the GPU must be replaced"
        needs_recovery = _needs_recovery(nvml, handle)
        return self._xids.problem(uuid, self._clock_s(), needs_recovery=needs_recovery)

    def _unidentified(self) -> str:
        """The errors of GPUs that cannot be identified; one of them may be the one that is missing."""
        errors = [f"index {index}: {why}" for index, why in self._left_out.items() if why != _MIG]
        return f" ({'; '.join(errors)})" if errors else ""

    def _log_left_out(self, before: Mapping[int, str]) -> None:
        for index, reason in self._left_out.items():
            if before.get(index) != reason:
                _LOG.warning("GPU with index %d is left out: %s", index, reason)

    def _numa_node(self, nvml: Any, handle: Any) -> int | None:
        node = answer_of(nvml, nvml.nvmlDeviceGetNumaNodeId, handle)
        if node is None:
            node = self._numa_node_of_slot(answer_of(nvml, nvml.nvmlDeviceGetPciInfo, handle))
        return node if node is not None and node >= 0 else None

    def _numa_node_of_slot(self, pci: Any | None) -> int | None:
        if pci is None:
            return None
        try:
            return int((self._sysfs_pci / kernel_bus_id(pci.busId) / "numa_node").read_text())
        except (OSError, ValueError):
            return None

    def _take(self, uuid: GpuUuid | None, xid: int) -> None:
        self._xid_counts[uuid, xid] += 1
        if self._xids.note(uuid, xid, self._clock_s()):
            _LOG.error("GPU %s: XID %d", uuid or "(unknown)", xid)
            self._on_xid()
        else:
            _LOG.info("GPU %s: XID %d, which is ignored", uuid or "(unknown)", xid)


def _needs_recovery(nvml: Any, handle: Any) -> bool:
    """Whether the driver says that the GPU must be reset or the node rebooted; False when it does not say."""
    fields = answer_of(nvml, nvml.nvmlDeviceGetFieldValues, handle, [nvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION])
    if fields is None:
        return False
    (field,) = fields
    return bool(field.nvmlReturn == 0 and field.value.uiVal != nvml.NVML_GPU_RECOVERY_ACTION_NONE)
