"""Reads through NVML what a GPU offers for enforcement: its generation, and memory limits on cgroups (driver r615+).

A limit belongs to a cgroup v2 folder and a GPU; the driver refuses what processes in it allocate beyond. Source:
https://docs.nvidia.com/deploy/nvml-api (nvmlDeviceSetMemoryLimits_v1, nvmlDeviceGetMemoryLimits_v1).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

from device_plugin.gpus.gpu import GpuSourceError
from device_plugin.sampling.bounded import BoundedCalls
from extender.contract.mig import MIG_PREFIX
from extender.contract.units import GpuUuid

_MIB = 1024 * 1024
_PROBE_FOLDER = "gpupack-probe"
_PROBE_MIB = 64


class LimitError(Exception):
    """A limit cannot be read or set; the message says why."""


class Abilities(Protocol):
    """What can be asked of a GPU and done with it."""

    def compute_capability(self, uuid: GpuUuid) -> tuple[int, int] | None:
        """Major and minor compute capability of the GPU; None when that is not known."""
        ...

    def limit_obstacle(self, uuid: GpuUuid) -> str:
        """Why limits cannot be set on that GPU; empty after one was set on a cgroup of our own and read back."""
        ...

    def limit_mib(self, uuid: GpuUuid, cgroup: str) -> int | None:
        """The limit of a cgroup on that GPU; None without one.

        Raises:
            LimitError: it cannot be read.
        """
        ...

    def set_limit_mib(self, uuid: GpuUuid, cgroup: str, limit_mib: int) -> None:
        """Set request and limit of a cgroup on that GPU.

        Raises:
            LimitError: it cannot be set.
        """
        ...


class NvmlAbilities:
    """`Abilities` over NVML.

    Args:
        load: imports the pynvml module.
        cgroup_root: where the node's cgroup v2 file system is mounted.
    """

    def __init__(self, load: Callable[[], Any], cgroup_root: Path) -> None:
        self._load = load
        self._root = cgroup_root

    def compute_capability(self, uuid: GpuUuid) -> tuple[int, int] | None:
        """Major and minor compute capability of the GPU; None when that is not known."""
        try:
            with self._device(uuid) as (nvml, device):
                major, minor = nvml.nvmlDeviceGetCudaComputeCapability(device)
        except LimitError:
            return None
        return int(major), int(minor)

    def limit_obstacle(self, uuid: GpuUuid) -> str:
        """Why limits cannot be set on that GPU; empty after one was set on a cgroup of our own and read back."""
        if not (self._root / "cgroup.controllers").exists():
            return f"no cgroup v2 at {self._root}"
        probe = self._root / _PROBE_FOLDER
        try:
            if uuid.startswith(MIG_PREFIX) or self._is_mig(uuid):
                return "MIG is enabled"
            probe.mkdir(exist_ok=True)
            try:
                return self._try(uuid)
            finally:
                # Removing a cgroup clears its limits.
                with suppress(OSError):
                    probe.rmdir()
        except LimitError as error:
            return str(error)
        except OSError as error:
            return f"cgroup {probe} cannot be made: {error.strerror}"

    def _try(self, uuid: GpuUuid) -> str:
        self.set_limit_mib(uuid, _PROBE_FOLDER, _PROBE_MIB)
        found = self.limit_mib(uuid, _PROBE_FOLDER)
        if found == _PROBE_MIB:
            return ""
        return f"a limit of {_PROBE_MIB} MiB was set and {found or 'none'} was read back"

    def limit_mib(self, uuid: GpuUuid, cgroup: str) -> int | None:
        """The limit of a cgroup on that GPU; None without one.

        Raises:
            LimitError: it cannot be read.
        """
        with self._device(uuid) as (nvml, device):
            _check_binding(nvml)
            limits = nvml.c_nvmlGetMemoryLimits_v1_t(nameSpace=self._path(cgroup))
            nvml.nvmlDeviceGetMemoryLimits_v1(device, limits)
            hard = int(limits.hardLimit)
            return None if hard == int(nvml.NVML_DEVICE_MEMORY_LIMIT_MAX) else hard // _MIB

    def set_limit_mib(self, uuid: GpuUuid, cgroup: str, limit_mib: int) -> None:
        """Set request and limit of a cgroup on that GPU.

        Raises:
            LimitError: it cannot be set.
        """
        with self._device(uuid) as (nvml, device):
            _check_binding(nvml)
            size = limit_mib * _MIB
            limits = nvml.c_nvmlSetMemoryLimits_v1_t(nameSpace=self._path(cgroup), softLimit=size, hardLimit=size)
            nvml.nvmlDeviceSetMemoryLimits_v1(device, limits)

    def _is_mig(self, uuid: GpuUuid) -> bool:
        try:
            with self._device(uuid) as (nvml, device):
                return bool(nvml.nvmlDeviceGetMigMode(device)[0] == nvml.NVML_DEVICE_MIG_ENABLE)
        except LimitError:
            return False  # GPUs without MIG answer "not supported"; what else is wrong shows at the next call

    def _path(self, cgroup: str) -> bytes:
        return str(self._root / cgroup.lstrip("/")).encode()

    @contextmanager
    def _device(self, uuid: GpuUuid) -> Iterator[tuple[Any, Any]]:
        """NVML, started for as long as it is used (it counts its users), and the GPU's handle."""
        nvml = self._load()
        try:
            nvml.nvmlInit()
            try:
                yield nvml, nvml.nvmlDeviceGetHandleByUUID(uuid)
            finally:
                nvml.nvmlShutdown()
        except nvml.NVMLError as error:
            if getattr(error, "value", None) == nvml.NVML_ERROR_FUNCTION_NOT_FOUND:
                raise LimitError("the driver has no memory limits (r615 and newer have)") from error
            raise LimitError(f"NVML: {error}") from error


def _check_binding(nvml: Any) -> None:
    """Raise if the binding does not know the calls, as one from before they were added.

    Raises:
        LimitError: it does not.
    """
    if not (hasattr(nvml, "nvmlDeviceSetMemoryLimits_v1") and hasattr(nvml, "nvmlDeviceGetMemoryLimits_v1")):
        raise LimitError("this nvidia-ml-py knows no memory limits (13.615 does)")


T = TypeVar("T")


class BoundedAbilities:
    """`Abilities` that do not hang when those behind them do, and fail while the calls are shut."""

    def __init__(self, abilities: Abilities, calls: BoundedCalls) -> None:
        self._abilities = abilities
        self._calls = calls

    def compute_capability(self, uuid: GpuUuid) -> tuple[int, int] | None:
        """Major and minor compute capability of the GPU; None when that is not known."""
        try:
            return self._call(lambda: self._abilities.compute_capability(uuid))
        except LimitError:
            return None

    def limit_obstacle(self, uuid: GpuUuid) -> str:
        """Why limits cannot be set on that GPU."""
        try:
            return self._call(lambda: self._abilities.limit_obstacle(uuid))
        except LimitError as error:
            return str(error)

    def limit_mib(self, uuid: GpuUuid, cgroup: str) -> int | None:
        """The limit of a cgroup on that GPU; None without one.

        Raises:
            LimitError: it cannot be read.
        """
        return self._call(lambda: self._abilities.limit_mib(uuid, cgroup))

    def set_limit_mib(self, uuid: GpuUuid, cgroup: str, limit_mib: int) -> None:
        """Set request and limit of a cgroup on that GPU.

        Raises:
            LimitError: it cannot be set.
        """
        self._call(lambda: self._abilities.set_limit_mib(uuid, cgroup, limit_mib))

    def _call(self, function: Callable[[], T]) -> T:
        try:
            return self._calls.call(function)
        except GpuSourceError as error:
            raise LimitError(str(error)) from error
