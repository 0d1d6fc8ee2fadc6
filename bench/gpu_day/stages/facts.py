"""Notes which machine this is, and whether the driver's `used` contains what it reserves; everything is only read."""

import importlib.metadata
import os
import platform
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.gpu_day.daemon import control_program
from bench.gpu_day.day import Day, SkipError
from device_plugin.gpus.gpu import GpuSourceError
from device_plugin.sampling.nvml import load_pynvml
from device_plugin.sampling.nvml_session import MIB, NvmlSession, text
from device_plugin.usage.procfs import ProcFolder

_SLACK_BYTES = 64 * MIB
"""Others may use the GPU between two questions."""


@dataclass(frozen=True, slots=True)
class MemoryAnswers:
    """What the driver says to both versions of the question for memory, asked right after each other, in MiB."""

    total_v1_mib: float
    used_v1_mib: float
    total_v2_mib: float
    used_v2_mib: float
    free_v2_mib: float
    reserved_v2_mib: float

    @property
    def used_is_apart_from_reserved(self) -> bool:
        """Whether version 2 tells apart what processes use and what the driver reserves."""
        parts_mib = self.used_v2_mib + self.free_v2_mib + self.reserved_v2_mib
        return abs(parts_mib - self.total_v2_mib) * MIB <= _SLACK_BYTES

    @property
    def used_v1_has_reserved(self) -> bool:
        """Whether version 1 adds the reserved part to what is in use."""
        return abs(self.used_v1_mib - self.used_v2_mib - self.reserved_v2_mib) * MIB <= _SLACK_BYTES


@dataclass(frozen=True, slots=True)
class Facts:
    """The machine, its driver and its GPU; None is what could not be found out.

    `sees_node_pids`: whether this process is in the PID namespace that NVML's process IDs belong to.
    """

    gpu: str
    driver: str
    compute_capability: str | None
    mig_mode: str
    memory: MemoryAnswers | None
    nvidia_ml_py: str | None
    torch: str | None
    mps_control: str | None
    kernel: str
    python: str
    cpus: int | None
    user_id: int
    has_cgroup_v2: bool
    sees_node_pids: bool


def facts(day: Day) -> Generator[Facts, None, None]:
    """What machine this is.

    Raises:
        SkipError: NVML cannot start.
    """
    session = NvmlSession(load_pynvml)
    try:
        nvml = session.start()
        yield _facts(nvml, nvml.nvmlDeviceGetHandleByUUID(day.gpu.uuid))
    except GpuSourceError as error:
        raise SkipError(str(error)) from error
    finally:
        session.end()


def _facts(nvml: Any, handle: Any) -> Facts:
    capability = _asked(nvml, nvml.nvmlDeviceGetCudaComputeCapability, handle)
    mig = _asked(nvml, nvml.nvmlDeviceGetMigMode, handle)
    return Facts(
        gpu=text(nvml.nvmlDeviceGetName(handle)),
        driver=text(nvml.nvmlSystemGetDriverVersion()),
        compute_capability=None if isinstance(capability, str) else ".".join(map(str, capability)),
        mig_mode=mig if isinstance(mig, str) else ("enabled" if mig[0] else "disabled"),
        memory=_memory(nvml, handle),
        nvidia_ml_py=_version("nvidia-ml-py"),
        torch=_version("torch"),
        mps_control=control_program(),
        kernel=platform.release(),
        python=platform.python_version(),
        cpus=os.cpu_count(),
        user_id=os.getuid(),
        has_cgroup_v2=Path("/sys/fs/cgroup/cgroup.controllers").exists(),
        sees_node_pids=ProcFolder().obstacle() == "",
    )


def _asked(nvml: Any, call: Any, handle: Any) -> Any:
    """The answer of a call, or its error as text."""
    try:
        return call(handle)
    except nvml.NVMLError as error:
        return str(error)


def _memory(nvml: Any, handle: Any) -> MemoryAnswers | None:
    try:
        older = nvml.nvmlDeviceGetMemoryInfo(handle)
        newer = nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2)
    except nvml.NVMLError:
        return None
    return MemoryAnswers(
        total_v1_mib=older.total / MIB,
        used_v1_mib=older.used / MIB,
        total_v2_mib=newer.total / MIB,
        used_v2_mib=newer.used / MIB,
        free_v2_mib=newer.free / MIB,
        reserved_v2_mib=newer.reserved / MIB,
    )


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
