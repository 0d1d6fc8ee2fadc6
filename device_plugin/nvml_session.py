"""From the pynvml binding to an NVML that is started: one thread's use of it, begun when needed and ended on failure.

NVML counts who started it, so each thread has a session of its own and none can end it under another's call.
"""

import logging
from collections.abc import Callable
from typing import Any

from .gpu import GpuSourceError

_LOG = logging.getLogger(__name__)

_HINTS = {
    "NVML_ERROR_LIBRARY_NOT_FOUND": "libnvidia-ml.so.1 is not visible here: install the NVIDIA driver, and give this "
    "container the driver's libraries (NVIDIA_VISIBLE_DEVICES=all, NVIDIA_DRIVER_CAPABILITIES=utility, nvidia runtime)",
    "NVML_ERROR_DRIVER_NOT_LOADED": "load the NVIDIA kernel module: is nvidia in lsmod, and what does dmesg say?",
    "NVML_ERROR_LIB_RM_VERSION_MISMATCH": "the driver was updated under a running kernel module: reboot, or reload it",
    "NVML_ERROR_NO_PERMISSION": "this process may not open /dev/nvidiactl: run it as root with the devices",
    "NVML_ERROR_GPU_IS_LOST": "a GPU fell off the bus: look for XID 79 in dmesg",
}
_HINT = "is the NVIDIA driver installed, and is its libnvidia-ml.so.1 visible here?"


class NvmlSession:
    """NVML for one thread.

    Args:
        load: gives the pynvml module.
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
            GpuSourceError: it cannot start; the message says why and what would help.
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
        """Let NVML go; the next `start` starts it anew."""
        nvml, self._nvml = self._nvml, None
        if nvml is not None:
            try:
                nvml.nvmlShutdown()
            except nvml.NVMLError as error:
                _LOG.debug("NVML shutdown: %s", error)


def _hint(nvml: Any, code: int) -> str:
    return next((hint for name, hint in _HINTS.items() if getattr(nvml, name, None) == code), _HINT)
