"""From NVML, through the pynvml binding that is imported here only, to samples of the real GPUs.

An error of one call costs what that call would have told: a GPU that cannot be queried is unhealthy with the error as
its reason, and an NVML that cannot start is a `GpuSourceError`, tried again by whoever samples.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from extender.contract.units import GpuUuid

from .gpu import GpuSample, GpuSourceError
from .xids import XidRecord

_LOG = logging.getLogger(__name__)

_SYSFS_PCI = Path("/sys/bus/pci/devices")
_MIB = 1024 * 1024
_EVENT_WAIT_MS = 1000
_EVENT_PAUSE_S = 5.0


def load_pynvml() -> Any:
    """The binding, imported only where GPUs are real."""
    import pynvml  # noqa: PLC0415 - see above

    return pynvml


class NvmlSource:
    """A `GpuSource` over NVML.

    Args:
        load: gives the pynvml module.
        clock_s: monotonic seconds.
        sysfs_pci: where the kernel shows PCI devices and their NUMA nodes.
        ignored_xids: XIDs that do not make a GPU unhealthy, beside those of applications.
        on_xid: called after an XID that does.
    """

    def __init__(
        self,
        load: Callable[[], Any] = load_pynvml,
        clock_s: Callable[[], float] = time.monotonic,
        sysfs_pci: Path = _SYSFS_PCI,
        ignored_xids: frozenset[int] = frozenset(),
        on_xid: Callable[[], None] = lambda: None,
    ) -> None:
        self._load = load
        self._clock_s = clock_s
        self._sysfs_pci = sysfs_pci
        self._nvml: Any = None
        self._known: dict[int, GpuSample] = {}
        self._left_out: dict[int, str] = {}
        self._xids = XidRecord(ignored_xids)
        self._on_xid = on_xid
        self._stop = threading.Event()
        self._listener: threading.Thread | None = None

    def sample(self) -> tuple[GpuSample, ...]:
        """Every GPU that can be shared, in NVML's order; MIG-enabled ones are left out.

        Raises:
            GpuSourceError: NVML cannot start, or cannot count its GPUs.
        """
        nvml = self._start()
        try:
            count = nvml.nvmlDeviceGetCount()
        except nvml.NVMLError as error:
            self._end()
            raise GpuSourceError(f"NVML cannot count the GPUs: {error}") from error
        found = [self._sample_one(nvml, index) for index in range(count)]
        return tuple(sample for sample in found if sample is not None)

    def close(self) -> None:
        """Stop listening for XIDs and shut NVML down."""
        self._stop.set()
        if self._listener is not None:
            self._listener.join(2 * _EVENT_WAIT_MS / 1000)
        self._end()

    def _start(self) -> Any:
        if self._nvml is not None:
            return self._nvml
        nvml = self._load()
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            hint = "is the NVIDIA driver installed, and is its libnvidia-ml.so.1 visible here?"
            raise GpuSourceError(f"NVML cannot start: {error}; {hint}") from error
        self._nvml = nvml
        if self._listener is None:
            self._listener = threading.Thread(target=self._listen, name="nvml-xids", daemon=True)
            self._listener.start()
        return nvml

    def _end(self) -> None:
        nvml, self._nvml = self._nvml, None
        if nvml is not None:
            try:
                nvml.nvmlShutdown()
            except nvml.NVMLError as error:
                _LOG.debug("NVML shutdown: %s", error)

    def _sample_one(self, nvml: Any, index: int) -> GpuSample | None:
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            if self._is_mig(nvml, handle):
                self._leave_out(index, "MIG is enabled on it, and MIG devices are not shared further")
                return None
            uuid = GpuUuid(_text(nvml.nvmlDeviceGetUUID(handle)))
            sample = GpuSample(
                uuid=uuid,
                index=index,
                model=_text(nvml.nvmlDeviceGetName(handle)),
                memory_mib=_memory_mib(nvml, handle),
                numa_node=self._numa_node(nvml, handle),
            )
        except nvml.NVMLError as error:
            known = self._known.get(index)
            if known is None:
                self._leave_out(index, f"it never could be queried: {error}")
                return None
            return replace(known, healthy=False, reason=f"NVML: {error}")
        self._left_out.pop(index, None)
        self._known[index] = sample
        needs_recovery = _needs_recovery(nvml, handle)
        problem = self._xids.problem(uuid, self._clock_s(), needs_recovery=needs_recovery)
        return replace(sample, healthy=False, reason=problem) if problem else sample

    def _leave_out(self, index: int, reason: str) -> None:
        if self._left_out.get(index) != reason:
            _LOG.warning("GPU with index %d is left out: %s", index, reason)
        self._left_out[index] = reason

    @staticmethod
    def _is_mig(nvml: Any, handle: Any) -> bool:
        try:
            current, _ = nvml.nvmlDeviceGetMigMode(handle)
        except nvml.NVMLError:
            return False  # GPUs without MIG answer "not supported"
        return bool(current == nvml.NVML_DEVICE_MIG_ENABLE)

    def _numa_node(self, nvml: Any, handle: Any) -> int | None:
        try:
            node = int(nvml.nvmlDeviceGetNumaNodeId(handle))
        except nvml.NVMLError:
            node = self._numa_node_of_slot(nvml, handle)
        return node if node >= 0 else None

    def _numa_node_of_slot(self, nvml: Any, handle: Any) -> int:
        try:
            bus_id = _text(nvml.nvmlDeviceGetPciInfo(handle).busId).lower()
            # NVML writes the PCI domain with eight digits, the kernel with four.
            domain, _, rest = bus_id.partition(":")
            return int((self._sysfs_pci / f"{domain[-4:]}:{rest}" / "numa_node").read_text())
        except (nvml.NVMLError, OSError, ValueError):
            return -1

    def _listen(self) -> None:
        """Take note of XIDs until closed; NVML may come and go meanwhile."""
        while not self._stop.is_set():
            nvml = self._nvml
            if nvml is None:
                self._stop.wait(_EVENT_PAUSE_S)
                continue
            try:
                events = nvml.nvmlEventSetCreate()
                try:
                    self._follow(nvml, events)
                finally:
                    nvml.nvmlEventSetFree(events)
            except nvml.NVMLError as error:
                _LOG.warning("XIDs cannot be read: %s", error)
                self._stop.wait(_EVENT_PAUSE_S)

    def _follow(self, nvml: Any, events: Any) -> None:
        for index in range(nvml.nvmlDeviceGetCount()):
            try:
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
                nvml.nvmlDeviceRegisterEvents(handle, nvml.nvmlEventTypeXidCriticalError, events)
            except nvml.NVMLError as error:
                _LOG.warning("GPU with index %d reports no XIDs: %s", index, error)
        while not self._stop.is_set() and self._nvml is nvml:
            try:
                event = nvml.nvmlEventSetWait(events, _EVENT_WAIT_MS)
            except nvml.NVMLError as error:
                if error.value == nvml.NVML_ERROR_TIMEOUT:
                    continue
                raise
            self._take(nvml, event)

    def _take(self, nvml: Any, event: Any) -> None:
        if event.eventType != nvml.nvmlEventTypeXidCriticalError:
            return
        try:
            uuid = GpuUuid(_text(nvml.nvmlDeviceGetUUID(event.device)))
        except nvml.NVMLError:
            uuid = None
        xid = int(event.eventData)
        if self._xids.note(uuid, xid, self._clock_s()):
            _LOG.error("GPU %s: XID %d", uuid or "(not known which)", xid)
            self._on_xid()
        else:
            _LOG.info("GPU %s: XID %d, which is ignored", uuid or "(not known which)", xid)


def _memory_mib(nvml: Any, handle: Any) -> int:
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2)
    except nvml.NVMLError:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    return int(memory.total) // _MIB


def _needs_recovery(nvml: Any, handle: Any) -> bool:
    """Whether the driver says that the GPU must be reset or the node rebooted; False where it does not say."""
    try:
        (field,) = nvml.nvmlDeviceGetFieldValues(handle, [nvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION])
    except nvml.NVMLError:
        return False
    return bool(field.nvmlReturn == 0 and field.value.uiVal != nvml.NVML_GPU_RECOVERY_ACTION_NONE)


def _text(value: str | bytes) -> str:
    """NVML's texts come as bytes from some versions of the binding."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value
