"""A pynvml module as far as memory limits on cgroups go, and parts of the enforcement that tests set by hand."""

# ruff: noqa: N801, N802, N815 - the names are pynvml's

import threading
from collections.abc import Mapping
from types import SimpleNamespace

from device_plugin.enforcing.abilities import LimitError
from device_plugin.enforcing.mps import MpsState
from device_plugin.usage.accounting.usage import Usage
from extender.contract.units import GpuUuid
from tests.fakes.nvml_module import NVMLError

MIB = 1024 * 1024


class c_nvmlSetMemoryLimits_v1_t(SimpleNamespace):
    """pynvml's structure: nameSpace, softLimit, hardLimit."""


class c_nvmlGetMemoryLimits_v1_t(SimpleNamespace):
    """pynvml's structure: nameSpace, softLimit, hardLimit, currentUsed."""


class FakeLimitNvml:
    """Keeps limits by GPU and cgroup; `fails` maps calls to NVML's return code, `forgets` loses what was set.

    While `is_free` is not set, it does not start.
    """

    NVMLError = NVMLError
    NVML_ERROR_NOT_SUPPORTED = 3
    NVML_ERROR_FUNCTION_NOT_FOUND = 13
    NVML_DEVICE_MIG_ENABLE = 1
    NVML_DEVICE_MEMORY_LIMIT_MAX = 0xFFFFFFFFFFFFFFFF
    c_nvmlSetMemoryLimits_v1_t = c_nvmlSetMemoryLimits_v1_t
    c_nvmlGetMemoryLimits_v1_t = c_nvmlGetMemoryLimits_v1_t

    def __init__(self) -> None:
        self.fails: dict[str, int] = {}
        self.forgets = False
        self.is_free = threading.Event()
        self.is_free.set()
        self.mig = 0
        self.users = 0
        self.limits: dict[tuple[str, bytes], tuple[int, int]] = {}

    def _check(self, call: str) -> None:
        if call in self.fails:
            raise NVMLError(self.fails[call])

    def nvmlInit(self) -> None:
        self.is_free.wait(30.0)
        self._check("init")
        self.users += 1

    def nvmlShutdown(self) -> None:
        self.users -= 1

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        self._check("handle")
        return uuid

    def nvmlDeviceGetMigMode(self, device: str) -> list[int]:  # noqa: ARG002 - one mode for all
        self._check("mig")
        return [self.mig, self.mig]

    def nvmlDeviceGetCudaComputeCapability(self, device: str) -> tuple[int, int]:  # noqa: ARG002 - one for all
        self._check("capability")
        return 8, 0

    def nvmlDeviceSetMemoryLimits_v1(self, device: str, limits: SimpleNamespace) -> None:
        self._check("set")
        if not self.forgets:
            self.limits[device, limits.nameSpace] = (limits.softLimit, limits.hardLimit)

    def nvmlDeviceGetMemoryLimits_v1(self, device: str, limits: SimpleNamespace) -> None:
        self._check("get")
        none = (0, self.NVML_DEVICE_MEMORY_LIMIT_MAX)
        limits.softLimit, limits.hardLimit = self.limits.get((device, limits.nameSpace), none)


class FakeAbilities:
    """`Abilities` in which tests say what is in the way; `stuck` cgroups keep the limit that they have."""

    def __init__(self, obstacles: Mapping[str, str] | None = None, capability: tuple[int, int] | None = (8, 0)) -> None:
        self.obstacles = dict(obstacles or {})
        self.capability = capability
        self.limits: dict[tuple[str, str], int] = {}
        self.stuck: set[str] = set()
        self.unreadable: set[str] = set()

    def compute_capability(self, uuid: GpuUuid) -> tuple[int, int] | None:
        assert uuid
        return self.capability

    def limit_obstacle(self, uuid: GpuUuid) -> str:
        return self.obstacles.get(uuid, "")

    def limit_mib(self, uuid: GpuUuid, cgroup: str) -> int | None:
        if cgroup in self.unreadable:
            raise LimitError("ordered by the test")
        return self.limits.get((uuid, cgroup))

    def set_limit_mib(self, uuid: GpuUuid, cgroup: str, limit_mib: int) -> None:
        if cgroup not in self.stuck:
            self.limits[uuid, cgroup] = limit_mib


class FakeUsage:
    """A `UsageReader` whose answer the test sets."""

    def __init__(self, usage: Usage | None = None) -> None:
        self.now = usage or Usage()

    def usage(self) -> Usage:
        return self.now


class FakeProofs:
    """`Proofs` in which MPS holds where the test says; `attempts` are the GPUs that were tried, in order."""

    def __init__(self, *proven: GpuUuid, holds_on: tuple[GpuUuid, ...] = ()) -> None:
        self.proven = set(proven)
        self.holds_on = holds_on
        self.attempts: list[GpuUuid] = []

    def obstacle(self, uuid: GpuUuid) -> str:
        return "" if uuid in self.proven else "not proven by the test"

    def is_due(self, uuid: GpuUuid) -> bool:
        return uuid not in self.proven and uuid not in self.attempts

    def attempt(self, uuid: GpuUuid, state: MpsState) -> None:
        assert isinstance(state, MpsState)
        self.attempts.append(uuid)
        if uuid in self.holds_on:
            self.proven.add(uuid)
