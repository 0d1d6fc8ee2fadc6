"""What pynvml offers and the plugin uses, over GPUs that tests describe and break."""

# ruff: noqa: N802 - the functions have the names of pynvml

import threading
from dataclasses import dataclass, field
from types import SimpleNamespace

MIB = 1024 * 1024


class NVMLError(Exception):
    """pynvml's error: `value` is NVML's return code."""

    def __init__(self, value: int) -> None:
        super().__init__(f"NVML error {value}")
        self.value = value


@dataclass(slots=True)
class FakeGpu:
    """One GPU; `broken` names the calls that fail on it."""

    uuid: str | bytes
    model: str | bytes = "NVIDIA A10"
    memory_mib: int = 23028
    mig: int | None = None
    numa_node: int | None = None
    bus_id: str = "00000000:3B:00.0"
    recovery_action: int | None = None
    broken: set[str] = field(default_factory=set)


class FakeNvml:
    """A module-like object; `problem` makes nvmlInit fail with that code, `lost` nvmlDeviceGetCount."""

    NVMLError = NVMLError
    NVML_ERROR_NOT_SUPPORTED = 3
    NVML_ERROR_TIMEOUT = 10
    NVML_ERROR_GPU_IS_LOST = 15
    NVML_DEVICE_MIG_ENABLE = 1
    NVML_FI_DEV_GET_GPU_RECOVERY_ACTION = 230
    NVML_GPU_RECOVERY_ACTION_NONE = 0
    nvmlMemory_v2 = 0x02000028  # noqa: N815 - pynvml's name
    nvmlEventTypeXidCriticalError = 8  # noqa: N815 - pynvml's name

    def __init__(self, *gpus: FakeGpu) -> None:
        self.gpus = list(gpus)
        self.problem = 0
        self.lost = 0
        self.starts = 0
        self._events: list[SimpleNamespace] = []
        self._news = threading.Condition()

    def raise_xid(self, xid: int, gpu: FakeGpu) -> None:
        """Let the driver report an XID."""
        with self._news:
            self._events.append(SimpleNamespace(eventType=8, eventData=xid, device=gpu))
            self._news.notify_all()

    def nvmlInit(self) -> None:
        if self.problem:
            raise NVMLError(self.problem)
        self.starts += 1

    def nvmlShutdown(self) -> None:
        """Nothing to free."""

    def nvmlDeviceGetCount(self) -> int:
        if self.lost:
            raise NVMLError(self.lost)
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeGpu:
        return self._working(self.gpus[index], "handle")

    def nvmlDeviceGetUUID(self, gpu: FakeGpu) -> str | bytes:
        return self._working(gpu, "uuid").uuid

    def nvmlDeviceGetName(self, gpu: FakeGpu) -> str | bytes:
        return self._working(gpu, "name").model

    def nvmlDeviceGetMigMode(self, gpu: FakeGpu) -> list[int]:
        if gpu.mig is None:
            raise NVMLError(self.NVML_ERROR_NOT_SUPPORTED)
        return [gpu.mig, gpu.mig]

    def nvmlDeviceGetMemoryInfo(self, gpu: FakeGpu, version: int | None = None) -> SimpleNamespace:
        self._working(gpu, "memory_v2" if version else "memory")
        return SimpleNamespace(total=gpu.memory_mib * MIB)

    def nvmlDeviceGetNumaNodeId(self, gpu: FakeGpu) -> int:
        if gpu.numa_node is None:
            raise NVMLError(self.NVML_ERROR_NOT_SUPPORTED)
        return gpu.numa_node

    def nvmlDeviceGetPciInfo(self, gpu: FakeGpu) -> SimpleNamespace:
        return SimpleNamespace(busId=self._working(gpu, "pci").bus_id.encode())

    def nvmlDeviceGetFieldValues(self, gpu: FakeGpu, fields: list[int]) -> list[SimpleNamespace]:
        assert fields == [self.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION]
        code = self.NVML_ERROR_NOT_SUPPORTED if gpu.recovery_action is None else 0
        return [SimpleNamespace(nvmlReturn=code, value=SimpleNamespace(uiVal=gpu.recovery_action or 0))]

    def nvmlEventSetCreate(self) -> object:
        return object()

    def nvmlEventSetFree(self, events: object) -> None:
        """Nothing to free."""

    def nvmlDeviceRegisterEvents(self, gpu: FakeGpu, kind: int, events: object) -> None:
        assert (kind, events is not None) == (self.nvmlEventTypeXidCriticalError, True)
        self._working(gpu, "events")

    def nvmlEventSetWait(self, events: object, timeout_ms: int) -> SimpleNamespace:  # noqa: ARG002 - one set only
        with self._news:
            if not self._news.wait_for(lambda: bool(self._events), min(timeout_ms, 50) / 1000):
                raise NVMLError(self.NVML_ERROR_TIMEOUT)
            return self._events.pop(0)

    def _working(self, gpu: FakeGpu, call: str) -> FakeGpu:
        if call in gpu.broken:
            raise NVMLError(self.NVML_ERROR_GPU_IS_LOST)
        return gpu
