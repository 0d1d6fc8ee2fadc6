"""Opens the GPU of the day: the first one that NVML reads, or a simulated one for a dry run."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench.gpu_day.day import SkipError
from bench.gpu_day.workloads.stand_ins import USE_FOLDER, uses
from bench.simulated.nvml.driver import Model, SimulatedDriver, build, loaded_into
from device_plugin.gpus.gpu import GpuSourceError
from device_plugin.gpus.readings import GpuReading
from device_plugin.sampling.nvml import load_pynvml
from device_plugin.sampling.nvml_reading import NvmlReader
from extender.contract.units import GpuUuid

_MODEL = Model("NVIDIA stand-in", 16384, 300)
_NVML_FOLDER = "NVML_FAKE_DIR"


class MeasuredGpu:
    """A `DayGpu` that is read as the plugin reads it.

    Args:
        reader: a reader on a driver with at least one GPU.
        environment: what a child needs to find the GPU, besides its UUID.
        before: called before each reading.
    """

    def __init__(
        self, reader: NvmlReader, environment: Mapping[str, str], before: Callable[[], None] = lambda: None
    ) -> None:
        self._reader = reader
        self._environment = environment
        self._before = before
        readings = reader.read()
        if not readings:
            raise GpuSourceError("NVML shows no GPU that can be read (a GPU in MIG mode is none)")
        self._uuid = readings[0].uuid

    @property
    def uuid(self) -> GpuUuid:
        """Its UUID."""
        return self._uuid

    def reading(self) -> GpuReading:
        """What the driver measures of it now.

        Raises:
            SkipError: the driver no longer shows it.
        """
        self._before()
        try:
            found = [reading for reading in self._reader.read() if reading.uuid == self._uuid]
        except GpuSourceError as error:
            raise SkipError(str(error)) from error
        if not found:
            raise SkipError("NVML no longer shows the GPU")
        return found[0]

    def environment(self) -> Mapping[str, str]:
        """The variables with which a child process uses this GPU and no other."""
        return {"CUDA_VISIBLE_DEVICES": self._uuid, **self._environment}


@contextmanager
def real_gpu() -> Iterator[MeasuredGpu]:
    """The first GPU of this machine; it is only read.

    Raises:
        GpuSourceError: NVML cannot start, or shows no GPU; the message says why.
    """
    reader = NvmlReader(load_pynvml)
    try:
        yield MeasuredGpu(reader, {})
    finally:
        reader.close()


@contextmanager
def stand_in_gpu() -> Iterator[MeasuredGpu]:
    """A GPU of the simulated driver, on which the stand-ins for CUDA programs show up as processes.

    Raises:
        BuildError: the simulated driver cannot be built here.
    """
    library = build()
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="gpu-day-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        use = folder / "use"
        use.mkdir()
        (folder / "nvml").mkdir()
        driver = SimulatedDriver(folder / "nvml", library, _MODEL)
        stack.callback(driver.close)
        stack.callback(_restore, _NVML_FOLDER, os.environ.get(_NVML_FOLDER))
        os.environ[_NVML_FOLDER] = str(folder / "nvml")
        stack.enter_context(loaded_into(load_pynvml(), library))
        reader = NvmlReader(load_pynvml)
        stack.callback(reader.close)
        yield MeasuredGpu(reader, {USE_FOLDER: str(use)}, lambda: _show(driver.gpus[0], use))


def _restore(name: str, before: str | None) -> None:
    os.environ.pop(name, None)
    if before is not None:
        os.environ[name] = before


def _show(gpu: Any, folder: Path) -> None:
    """Let the simulated driver list the stand-ins that run, each with what it uses."""
    found = uses(folder)
    listed = [gpu.processes[place].pid for place in range(gpu.process_count)]
    for pid in listed:
        if pid not in found:
            gpu.end(pid)
    for pid, used_mib in found.items():
        gpu.run(pid, used_mib)
