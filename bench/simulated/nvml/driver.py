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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

LIBRARY = "libnvidia-ml.so.1"
SOURCE = Path(__file__).with_name("nvml_library.c")
MAX_GPUS, MAX_PROCESSES, MAX_CALLS = 16, 96, 40
COMPUTE, GRAPHICS, MPS = 1, 2, 4
NOT_SUPPORTED, NO_PERMISSION, DRIVER_NOT_LOADED, FUNCTION_NOT_FOUND, GPU_IS_LOST, UNKNOWN = 3, 4, 9, 13, 15, 999
UNKNOWN_GPU = 0xFFFFFFFF
UNKNOWN_BYTES = (1 << 64) - 1
"""What NVML gives as a process's memory where it does not know it."""

_MIB = 1024 * 1024
_BUILD_TIMEOUT_S = 120.0


class _Process(ctypes.Structure):
    _fields_ = (
        ("pid", ctypes.c_uint32),
        ("kinds", ctypes.c_uint32),
        ("used_bytes", ctypes.c_uint64),
        ("sampled_us", ctypes.c_uint64),
        ("sm_percent", ctypes.c_uint32),
        ("memory_percent", ctypes.c_uint32),
    )


class DriverGpu(ctypes.Structure):
    """One GPU of the simulated driver; every field may be written while the library answers."""

    process_count: int
    used_bytes: int
    _fields_ = (
        ("uuid", ctypes.c_char * 96),
        ("name", ctypes.c_char * 96),
        ("bus_id", ctypes.c_char * 32),
        ("peer_bus_id", ctypes.c_char * 32),
        ("total_bytes", ctypes.c_uint64),
        ("reserved_bytes", ctypes.c_uint64),
        ("used_bytes", ctypes.c_uint64),
        ("corrected", ctypes.c_uint64),
        ("uncorrected", ctypes.c_uint64),
        ("minor_number", ctypes.c_int32),
        ("numa_node", ctypes.c_int32),
        ("mig", ctypes.c_int32),
        ("gpu_percent", ctypes.c_int32),
        ("memory_percent", ctypes.c_int32),
        ("temperature", ctypes.c_int32),
        ("power_mw", ctypes.c_uint32),
        ("rows", ctypes.c_uint32 * 4),
        ("retired_pages", ctypes.c_uint32),
        ("retired_pending", ctypes.c_uint32),
        ("recovery_action", ctypes.c_uint32),
        ("capability", ctypes.c_int32 * 2),
        ("pcie_generation", ctypes.c_uint32),
        ("pcie_lanes", ctypes.c_uint32),
        ("nvlinks", ctypes.c_uint32),
        ("lost", ctypes.c_int32),
        ("codes", ctypes.c_int32 * MAX_CALLS),
        ("process_count", ctypes.c_uint32),
        ("processes", _Process * MAX_PROCESSES),
    )

    def run(self, pid: int, used_mib: int | None, *, kinds: int = COMPUTE, sm_percent: int = 0) -> None:
        """A process starts, or is another one than before; memory None is what the driver does not know."""
        places = [place for place in range(self.process_count) if self.processes[place].pid == pid]
        place = places[0] if places else self.process_count
        used_bytes = UNKNOWN_BYTES if used_mib is None else used_mib * _MIB
        earlier_us = self.processes[place].sampled_us if places else 0
        self.processes[place] = _Process(pid, kinds, used_bytes, earlier_us + 1 if sm_percent else 0, sm_percent, 0)
        self.process_count = max(self.process_count, place + 1)
        self._sum()

    def end(self, pid: int) -> None:
        """A process ends."""
        kept = [bytes(each) for each in self.processes[: self.process_count] if each.pid != pid]
        for place, raw in enumerate(kept):
            self.processes[place] = _Process.from_buffer_copy(raw)
        self.process_count = len(kept)
        self._sum()

    def _sum(self) -> None:
        sizes = [each.used_bytes for each in self.processes[: self.process_count]]
        self.used_bytes = sum(size for size in sizes if size != UNKNOWN_BYTES)


class _State(ctypes.Structure):
    _fields_ = (
        ("init_code", ctypes.c_int32),
        ("count_code", ctypes.c_int32),
        ("wait_code", ctypes.c_int32),
        ("gpu_count", ctypes.c_uint32),
        ("sessions", ctypes.c_uint32),
        ("registrations", ctypes.c_uint32),
        ("calls", ctypes.c_uint64),
        ("driver_version", ctypes.c_char * 80),
        ("gpus", DriverGpu * MAX_GPUS),
    )


@dataclass(frozen=True, slots=True)
class Model:
    """A kind of GPU."""

    name: str = "NVIDIA A10"
    memory_mib: int = 23028
    reserved_mib: int = 500


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
        self._names = _call_names(library)
        file = folder / "state"
        file.write_bytes(bytes(ctypes.sizeof(_State)))
        os.mkfifo(folder / "xids")
        self._xids = os.open(folder / "xids", os.O_RDWR | os.O_NONBLOCK)
        with file.open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), 0)
        self.state = _State.from_buffer(self._map)
        self.state.driver_version = b"580.95.05"
        for model in models:
            self.add(model)

    @property
    def gpus(self) -> list[Any]:
        """The GPUs that are there, to be changed in place."""
        return [self.state.gpus[index] for index in range(self.state.gpu_count)]

    def add(self, model: Model) -> Any:
        """One more GPU; minor numbers have a gap after every second one."""
        index = self.state.gpu_count
        gpu = self.state.gpus[index]
        gpu.uuid = f"GPU-{index:08x}-0000-4000-8000-000000000000".encode()
        gpu.name = model.name.encode()
        gpu.bus_id = f"00000000:{0x3B + index:02X}:00.0".encode()
        gpu.peer_bus_id = f"00000000:{0x3B + (index ^ 1):02X}:00.0".encode()
        gpu.total_bytes, gpu.reserved_bytes = model.memory_mib * _MIB, model.reserved_mib * _MIB
        gpu.minor_number, gpu.numa_node, gpu.mig = index + index // 2, index // 4, 0
        gpu.gpu_percent, gpu.memory_percent, gpu.temperature, gpu.power_mw = 50, 25, 40, 150_500
        gpu.capability[0], gpu.capability[1] = 8, 6
        gpu.pcie_generation, gpu.pcie_lanes = 4, 16
        self.state.gpu_count = index + 1
        return gpu

    def fail(self, index: int, call: str, code: int) -> None:
        """Let one kind of call on a GPU fail with NVML's code, or succeed with 0; names are those of the C source."""
        self.state.gpus[index].codes[self._names.index(call)] = code

    def raise_xid(self, xid: int, index: int = UNKNOWN_GPU) -> None:
        """Let the driver report an XID."""
        os.write(self._xids, struct.pack("=II", index, xid))

    def environment(self) -> Mapping[str, str]:
        """What makes a program load this driver's library, and the library find this driver."""
        return {"LD_LIBRARY_PATH": str(self.library.parent), "NVML_FAKE_DIR": str(self.folder)}

    def close(self) -> None:
        """Release the state; the library may keep its own mapping."""
        os.close(self._xids)
        del self.state
        # Structs that callers still hold keep the mapping, and free it when they go.
        try:
            self._map.close()
        except BufferError:
            return


def _call_names(library: Path) -> list[str]:
    loaded = ctypes.CDLL(str(library))
    loaded.nvml_fake_calls.restype = ctypes.c_char_p
    loaded.nvml_fake_state_size.restype = ctypes.c_size_t
    if loaded.nvml_fake_state_size() != ctypes.sizeof(_State):
        raise BuildError(f"{library}: its state has another form than {__name__} knows")
    names = loaded.nvml_fake_calls() or b""
    return str(names, "ascii").split()


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
