"""Starts and ends NVML for one thread, and turns its answers into plain values.

NVML counts its users, so each thread has a session of its own and none can end it during another's call.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from device_plugin.gpus.gpu import GpuSourceError
from device_plugin.gpus.readings import GpuProcess, RowRemaps

_LOG = logging.getLogger(__name__)

_HINTS = {
    "NVML_ERROR_LIBRARY_NOT_FOUND": "libnvidia-ml.so.1 is not visible here: install the NVIDIA driver, and give this "
    "container the driver's libraries (NVIDIA_VISIBLE_DEVICES=all, NVIDIA_DRIVER_CAPABILITIES=utility, nvidia runtime)",
    "NVML_ERROR_DRIVER_NOT_LOADED": "load the NVIDIA kernel module: is nvidia in lsmod, and what does dmesg show?",
    "NVML_ERROR_LIB_RM_VERSION_MISMATCH": "the driver was updated under a running kernel module: reboot, or reload it",
    "NVML_ERROR_NO_PERMISSION": "this process may not open /dev/nvidiactl: run it as root with the devices",
    "NVML_ERROR_GPU_IS_LOST": "a GPU fell off the bus: look for XID 79 in dmesg",
}
_HINT = "is the NVIDIA driver installed, and is its libnvidia-ml.so.1 visible here?"


class NvmlSession:
    """NVML for one thread.

    Args:
        load: imports the pynvml module.
    """

    def __init__(self, load: Callable[[], Any]) -> None:
        self._load = load
        self._nvml: Any = None

    @property
    def is_started(self) -> bool:
        """Whether NVML is started for this session."""
        return self._nvml is not None

    def start(self) -> Any:
        """The binding, with NVML started.

        Raises:
            GpuSourceError: NVML cannot start; the message says why and what would help.
        """
        if self._nvml is None:
            nvml = self._load()
            try:
                nvml.nvmlInit()
            except nvml.NVMLError as error:
                raise GpuSourceError(f"NVML cannot start: {error}; {_hint(nvml, error.value)}") from error
            self._nvml = nvml
        return self._nvml

    def end(self) -> None:
        """Shut NVML down; the next `start` starts it again."""
        nvml, self._nvml = self._nvml, None
        if nvml is not None:
            try:
                nvml.nvmlShutdown()
            except nvml.NVMLError as error:
                _LOG.debug("NVML shutdown: %s", error)


def _hint(nvml: Any, code: int) -> str:
    return next((hint for name, hint in _HINTS.items() if getattr(nvml, name, None) == code), _HINT)


MIB = 1024 * 1024
_NONE_PER_PROCESS = (1 << 64) - 1
"""NVML_VALUE_NOT_AVAILABLE: the driver does not say how much this process uses."""

T = TypeVar("T")


class GpuLostError(Exception):
    """The GPU itself, and not only the call, failed; the message is NVML's."""


def lost_codes(nvml: Any) -> frozenset[int]:
    """NVML's return codes for a GPU that does not answer at all."""
    return frozenset(
        {
            nvml.NVML_ERROR_GPU_IS_LOST,
            nvml.NVML_ERROR_RESET_REQUIRED,
            nvml.NVML_ERROR_UNINITIALIZED,
            nvml.NVML_ERROR_GPU_NOT_FOUND,
        }
    )


def answer_of(nvml: Any, call: Callable[..., T], *arguments: Any, **options: Any) -> T | None:
    """The answer of a call; None when it is not supported, not permitted, has no data or does not exist.

    Raises:
        GpuLostError: the GPU no longer answers.
    """
    try:
        return call(*arguments, **options)
    except nvml.NVMLError as error:
        check_lost(nvml, error)
        return None
    except UnicodeError:
        return None  # a text that is not UTF-8, which the binding decodes itself


def check_lost(nvml: Any, error: Any) -> None:
    """Raise if an error means that the GPU itself, and not only the call, failed.

    Raises:
        GpuLostError: the GPU does not answer.
    """
    if error.value in lost_codes(nvml):
        raise GpuLostError(str(error)) from error


def text(value: str | bytes) -> str:
    """A text of NVML, which some versions of the binding give as bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def mib(size_bytes: int) -> int:
    """Bytes in MiB, rounded down."""
    return size_bytes // MIB


def ratio(percent: int | None) -> float | None:
    """Percent as a ratio from 0 to 1; None when it is unknown or out of range."""
    return percent / 100 if percent is not None and 0 <= percent <= 100 else None


def kernel_bus_id(value: str | bytes) -> str:
    """A PCI bus ID as the kernel writes it: NVML gives the domain eight digits, the kernel four."""
    domain, _, rest = text(value).lower().partition(":")
    return f"{domain[-4:]}:{rest}"


def remaps(answer: Iterable[int]) -> RowRemaps:
    """The four numbers of nvmlDeviceGetRemappedRows."""
    correctable, uncorrectable, pending, failed = answer
    return RowRemaps(correctable, uncorrectable, bool(pending), bool(failed))


def union(lists: Iterable[Iterable[Any] | None], sm_percent: Mapping[int, int] | None) -> tuple[GpuProcess, ...]:
    """Every process of several lists once, by PID.

    A process with a compute and a graphics context is in both lists, each time with all its memory, so the larger
    number counts and not the sum. `sm_percent` has the multiprocessor time of the processes that recently took some;
    None when the driver does not measure it.
    """
    found: dict[int, int | None] = {}
    for processes in lists:
        for process in processes or ():
            known, used = found.get(process.pid), process.usedGpuMemory
            if used is None or used == _NONE_PER_PROCESS:
                found.setdefault(process.pid, None)
            else:
                found[process.pid] = max(known or 0, int(used))
    return tuple(
        GpuProcess(pid, used, None if sm_percent is None else ratio(sm_percent.get(pid, 0)))
        for pid, used in sorted(found.items())
    )


def latest_sm_percent(samples: Iterable[Any]) -> tuple[dict[int, int], int]:
    """The newest multiprocessor percentage of each PID, and the newest time stamp of all (microseconds).

    A sample of PID 0 or with a percentage over 100 is a slot that the driver did not fill.
    """
    newest: dict[int, tuple[int, int]] = {}
    last_us = 0
    for sample in samples:
        if not sample.pid or sample.smUtil > 100:
            continue
        last_us = max(last_us, sample.timeStamp)
        newest[sample.pid] = max(newest.get(sample.pid, (0, 0)), (sample.timeStamp, sample.smUtil))
    return {pid: percent for pid, (_, percent) in newest.items()}, last_us
