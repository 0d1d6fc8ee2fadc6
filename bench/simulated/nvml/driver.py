"""Simulates an NVIDIA driver: builds the small libnvidia-ml.so.1 of `nvml_library.c`, and changes its values live.

The state lies in a file that library and Python both map, so it also drives a program in another process that was
started with `environment()`.
"""

import ctypes
import hashlib
import mmap
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bench.simulated.nvml.slicing import destroy_slice, slice_gpu
from bench.simulated.nvml.state import MAX_GPUS, NO_INSTANCE, DriverState

LIBRARY = "libnvidia-ml.so.1"
SOURCE = Path(__file__).with_name("nvml_library.c")
NOT_SUPPORTED, NO_PERMISSION, DRIVER_NOT_LOADED, FUNCTION_NOT_FOUND, GPU_IS_LOST, UNKNOWN = 3, 4, 9, 13, 15, 999
UNKNOWN_GPU = 0xFFFFFFFF

_MIB = 1024 * 1024
_BUILD_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Model:
    """A kind of GPU."""

    name: str = "NVIDIA A10"
    memory_mib: int = 23028
    reserved_mib: int = 500
    max_slices: int = 7


class BuildError(Exception):
    """The library cannot be built here; the message says why."""


@cache
def build(*, old_driver: bool = False) -> Path:
    """The library's file, built on first use and kept in the system's folder for temporary files.

    Raises:
        BuildError: no C compiler, or it failed.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise BuildError("no C compiler (cc) here")
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"gpupack-nvml-{os.getuid()}-{digest}{'-old' if old_driver else ''}"
    library = folder / LIBRARY
    if library.exists():
        return library
    folder.mkdir(mode=0o700, exist_ok=True)
    options = ["-shared", "-fPIC", "-O2", "-pthread", f"-Wl,-soname,{LIBRARY},-Bsymbolic"]
    options += ["-DOLD_DRIVER"] if old_driver else []
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".so", delete=False) as made:
        done = subprocess.run(
            [compiler, *options, "-o", made.name, str(SOURCE)],
            capture_output=True,
            text=True,
            timeout=_BUILD_TIMEOUT_S,
            check=False,
        )
    if done.returncode:
        raise BuildError(f"{compiler} failed: {done.stderr[:500]}")
    # Others may build at the same time: the last rename wins, with the same content.
    Path(made.name).rename(library)
    return library


class SimulatedDriver:
    """A driver whose GPUs tests and benchmarks change while it is asked.

    Args:
        folder: where its state lives; new and empty.
        library: what `build` gave.
        models: one GPU of each, in NVML's order.
    """

    def __init__(self, folder: Path, library: Path, *models: Model) -> None:
        self.folder = folder
        self.library = library
        self.calls, self.system_calls = _call_names(library)
        self._places = 0
        file = folder / "state"
        file.write_bytes(bytes(ctypes.sizeof(DriverState)))
        os.mkfifo(folder / "xids")
        self._xids = os.open(folder / "xids", os.O_RDWR | os.O_NONBLOCK)
        with file.open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), 0)
        self.state = DriverState.from_buffer(self._map)
        self.state.driver_version = b"580.95.05"
        self.state.monitor = 1
        for model in models:
            self.add(model)

    @property
    def gpus(self) -> list[Any]:
        """The GPUs that are there, in NVML's order, to be changed in place."""
        return [self.state.gpus[place] for place in self.state.order[: self.state.gpu_count]]

    def add(self, model: Model) -> Any:
        """One more GPU; minor numbers have a gap after every second one.

        Raises:
            ValueError: there is no room for more.
        """
        place, index = self._places, self.state.gpu_count
        if place >= MAX_GPUS:
            raise ValueError(f"expected at most {MAX_GPUS} GPUs")
        gpu = self.state.gpus[place]
        gpu.uuid = f"GPU-{place:08x}-0000-4000-8000-000000000000".encode()
        gpu.name = model.name.encode()
        gpu.bus_id = f"00000000:{0x3B + place:02X}:00.0".encode()
        gpu.peer_bus_id = f"00000000:{0x3B + (place ^ 1):02X}:00.0".encode()
        gpu.total_bytes, gpu.reserved_bytes = model.memory_mib * _MIB, model.reserved_mib * _MIB
        gpu.minor_number, gpu.numa_node = place + place // 2, place // 4
        gpu.mig, gpu.mig_pending, gpu.max_slices = 0, -1, model.max_slices
        gpu.gpu_percent, gpu.memory_percent, gpu.temperature, gpu.power_mw = 50, 25, 40, 150_500
        gpu.capability[0], gpu.capability[1] = 8, 6
        gpu.pcie_generation, gpu.pcie_lanes = 4, 16
        self.state.order[index] = place
        self.state.gpu_count, self._places = index + 1, place + 1
        return gpu

    def remove(self, index: int) -> Any:
        """Take a GPU off the bus: those after it move up, and who holds a handle to it is told that it is lost."""
        order = list(self.state.order[: self.state.gpu_count])
        gpu = self.state.gpus[order.pop(index)]
        gpu.lost = GPU_IS_LOST
        self._order(order)
        return gpu

    def bring_back(self, gpu: Any, index: int) -> None:
        """Put a GPU that was removed on the bus again; programs that have NVML open since before go on calling it lost.

        A GPU that is lost and still on the bus is back with `reset`.
        """
        place = next(at for at, each in enumerate(self.state.gpus) if ctypes.addressof(each) == ctypes.addressof(gpu))
        order = list(self.state.order[: self.state.gpu_count])
        self._order([*order[:index], place, *order[index:]])
        self.reset(index)

    def reset(self, index: int) -> None:
        """A lost GPU is well again; programs that have NVML open since before go on calling it lost."""
        gpu = self.gpus[index]
        gpu.lost, gpu.reset_at = 0, self.state.starts

    def slice(self, index: int, profiles: Sequence[str], *, reserved_mib: int = 0) -> list[Any]:
        """Cut a GPU into these MIG devices, whatever it was before; without any, only MIG mode is on.

        The same IDs of GPU and compute instance always give the same UUID, also when the size is another one.

        Raises:
            ValueError: an unknown profile, or more devices than there is room for.
        """
        slice_gpu(self.gpus[index], profiles, reserved_mib=reserved_mib)
        return list(self.gpus[index].slices[: len(profiles)])

    def destroy(self, index: int, device: int) -> None:
        """Destroy a MIG device, which leaves a gap in the numbers."""
        destroy_slice(self.gpus[index], device)

    def fail(self, index: int | None, call: str, code: int, *, device: int | None = None) -> None:
        """Let one kind of call fail with NVML's code, or succeed with 0; names are those of the C source.

        It is a call on a GPU, on one of its MIG devices, or, when `index` is None, on the driver itself.
        """
        target, at = self._target(index, call, device)
        target.codes[at] = code

    def hang(self, index: int | None, call: str, *, device: int | None = None) -> None:
        """Let one kind of call not return until `release`; see `fail` for the arguments.

        `state.hanging` counts the threads, of all programs, that are in such calls.
        """
        target, at = self._target(index, call, device)
        target.hangs[at] = 1

    def release(self) -> None:
        """Let all calls that hang go on."""
        for target in [self.state, *self.state.gpus, *(part for gpu in self.state.gpus for part in gpu.slices)]:
            ctypes.memset(target.hangs, 0, ctypes.sizeof(target.hangs))

    def raise_xid(self, xid: int, index: int = UNKNOWN_GPU, *, gi: int = NO_INSTANCE, ci: int = NO_INSTANCE) -> None:
        """Let the driver report an XID, of an instance of a GPU in MIG mode if it has an ID."""
        place = self.state.order[index] if index < self.state.gpu_count else UNKNOWN_GPU
        os.write(self._xids, struct.pack("=IIII", place, xid, gi, ci))

    def environment(self) -> Mapping[str, str]:
        """What makes a program load this driver's library, and the library find this driver."""
        return {"LD_LIBRARY_PATH": str(self.library.parent), "NVML_FAKE_DIR": str(self.folder)}

    def close(self) -> None:
        """Release the state; the library may keep its own mapping."""
        self.release()
        os.close(self._xids)
        del self.state
        # Structs that callers still hold keep the mapping, and free it when they go.
        try:
            self._map.close()
        except BufferError:
            return

    def _target(self, index: int | None, call: str, device: int | None) -> tuple[Any, int]:
        if index is None:
            return self.state, self.system_calls.index(call)
        gpu = self.gpus[index]
        return (gpu if device is None else gpu.slices[device]), self.calls.index(call)

    def _order(self, places: list[int]) -> None:
        for index, place in enumerate(places):
            self.state.order[index] = place
        self.state.gpu_count = len(places)


def _call_names(library: Path) -> tuple[list[str], list[str]]:
    """The calls on a GPU, and those on the driver."""
    loaded = ctypes.CDLL(str(library))
    loaded.nvml_fake_state_size.restype = ctypes.c_size_t
    if loaded.nvml_fake_state_size() != ctypes.sizeof(DriverState):
        raise BuildError(f"{library}: its state has another form than {__name__} knows")
    found = []
    for function in (loaded.nvml_fake_calls, loaded.nvml_fake_system_calls):
        function.restype = ctypes.c_char_p
        found.append(str(function() or b"", "ascii").split())
    return found[0], found[1]


@contextmanager
def loaded_into(pynvml: Any, library: Path) -> Iterator[None]:
    """Let the binding of this process use that file as libnvidia-ml.so.1, until the end of the block."""
    before = pynvml.nvmlLib
    pynvml.nvmlLib = ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
    # The binding remembers functions by name, not by library.
    pynvml._nvmlGetFunctionPointer_cache.clear()  # noqa: SLF001 - it has no way to be told
    try:
        yield
    finally:
        pynvml.nvmlLib = before
        pynvml._nvmlGetFunctionPointer_cache.clear()  # noqa: SLF001 - see above
