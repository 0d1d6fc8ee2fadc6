"""Follows a YAML file of simulated GPUs, so that the plugin runs on machines without a GPU.

The file is read again whenever it changes: health, memory in use and the list of GPUs follow. A file that is wrong at
the start is an error; one that becomes wrong later is logged, and the last good state stays.
"""

import logging
from pathlib import Path

from device_plugin.gpus.gpu import GpuSample
from device_plugin.sampling.gpu_file import GpuFile, GpuFileError, SimulatedProcess, parse_gpus
from device_plugin.settings import SettingsError

_LOG = logging.getLogger(__name__)


class SimulatedSource:
    """A `GpuSource` that follows a file.

    Raises:
        SettingsError: the file is missing or wrong at the start.
    """

    def __init__(self, path: Path, node_name: str) -> None:
        self._path = path
        self._node_name = node_name
        self._stamp = _stamp(path)
        try:
            self._node = self._read()
        except (OSError, UnicodeDecodeError, GpuFileError) as error:
            raise SettingsError(f"gpus {str(path)!r}: {error}") from error

    def sample(self) -> tuple[GpuSample, ...]:
        """The GPUs in the file, or in its last valid version."""
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._node = self._read()
            except (OSError, UnicodeDecodeError, GpuFileError) as error:
                _LOG.error("%s: keeping the previous %d GPUs: %s", self._path, len(self._node.samples), error)
        return self._node.samples

    def close(self) -> None:
        """Do nothing: no file is held open."""

    def use(self) -> tuple[tuple[GpuSample, ...], tuple[SimulatedProcess, ...]]:
        """The GPUs and processes as last read."""
        node = self._node
        return node.samples, node.processes

    def _read(self) -> GpuFile:
        return parse_gpus(self._path.read_text(encoding="utf-8"), self._node_name)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """A value that changes whenever the file is written or replaced; None while it does not exist."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_ino, state.st_mtime_ns, state.st_size
