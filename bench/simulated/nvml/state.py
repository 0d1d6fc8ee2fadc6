"""The state of the simulated NVIDIA driver, as `nvml_library.c` lays it out in memory."""

import ctypes

MAX_GPUS, MAX_SLICES, MAX_PROCESSES, MAX_CALLS, SYSTEM_CALLS = 16, 8, 96, 48, 6
COMPUTE, GRAPHICS, MPS = 1, 2, 4
NO_INSTANCE = 0xFFFFFFFF
"""NVML's ID of a GPU or compute instance where there is none."""
UNKNOWN_BYTES = (1 << 64) - 1
"""What NVML gives as a process's memory where it does not know it."""

_MIB = 1024 * 1024
_INIT, _COUNT, _WAIT = 0, 2, 5


class _Process(ctypes.Structure):
    _fields_ = (
        ("pid", ctypes.c_uint32),
        ("kinds", ctypes.c_uint32),
        ("used_bytes", ctypes.c_uint64),
        ("sampled_us", ctypes.c_uint64),
        ("sm_percent", ctypes.c_uint32),
        ("memory_percent", ctypes.c_uint32),
        ("gpu_instance", ctypes.c_uint32),
        ("compute_instance", ctypes.c_uint32),
    )


class DriverSlice(ctypes.Structure):
    """A MIG device of the simulated driver; every field may be written while the library answers."""

    present: int
    total_bytes: int
    used_bytes: int
    gpu_instance: int
    compute_instance: int
    _fields_ = (
        ("present", ctypes.c_int32),
        ("lost", ctypes.c_int32),
        ("codes", ctypes.c_int32 * MAX_CALLS),
        ("hangs", ctypes.c_int32 * MAX_CALLS),
        ("uuid", ctypes.c_char * 96),
        ("name", ctypes.c_char * 96),
        ("total_bytes", ctypes.c_uint64),
        ("reserved_bytes", ctypes.c_uint64),
        ("used_bytes", ctypes.c_uint64),
        ("gpu_instance", ctypes.c_uint32),
        ("compute_instance", ctypes.c_uint32),
        ("gpu_slices", ctypes.c_uint32),
        ("compute_slices", ctypes.c_uint32),
        ("multiprocessors", ctypes.c_uint32),
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
        ("mig_pending", ctypes.c_int32),
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
        ("max_slices", ctypes.c_uint32),
        ("lost", ctypes.c_int32),
        ("codes", ctypes.c_int32 * MAX_CALLS),
        ("hangs", ctypes.c_int32 * MAX_CALLS),
        ("reset_at", ctypes.c_uint32),
        ("slices", DriverSlice * MAX_SLICES),
        ("process_count", ctypes.c_uint32),
        ("processes", _Process * MAX_PROCESSES),
    )

    def run(
        self, pid: int, used_mib: int | None, *, kinds: int = COMPUTE, sm_percent: int = 0, device: int | None = None
    ) -> None:
        """A process starts, or is another one than before.

        Memory None is what the driver does not know; `device` is the number of the MIG device that it is on.
        """
        places = [place for place in range(self.process_count) if self.processes[place].pid == pid]
        place = places[0] if places else self.process_count
        used_bytes = UNKNOWN_BYTES if used_mib is None else used_mib * _MIB
        sampled_us = self.processes[place].sampled_us + 1 if places and sm_percent else int(bool(sm_percent))
        gpu_instance = compute_instance = NO_INSTANCE
        if device is not None:
            on = self.slices[device]
            gpu_instance, compute_instance = on.gpu_instance, on.compute_instance
        self.processes[place] = _Process(
            pid, kinds, used_bytes, sampled_us, sm_percent, 0, gpu_instance, compute_instance
        )
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
        known = [each for each in self.processes[: self.process_count] if each.used_bytes != UNKNOWN_BYTES]
        self.used_bytes = sum(each.used_bytes for each in known)
        for part in self.slices:
            # Compute instances share the memory of their GPU instance, and each shows all of it.
            part.used_bytes = sum(each.used_bytes for each in known if each.gpu_instance == part.gpu_instance)


class DriverState(ctypes.Structure):
    """All of it; the codes are what the calls on the driver itself fail with."""

    _fields_ = (
        ("codes", ctypes.c_int32 * SYSTEM_CALLS),
        ("hangs", ctypes.c_int32 * SYSTEM_CALLS),
        ("monitor", ctypes.c_int32),
        ("gpu_count", ctypes.c_uint32),
        ("sessions", ctypes.c_uint32),
        ("starts", ctypes.c_uint32),
        ("registrations", ctypes.c_uint32),
        ("hanging", ctypes.c_uint32),
        ("order", ctypes.c_uint32 * MAX_GPUS),
        ("calls", ctypes.c_uint64),
        ("driver_version", ctypes.c_char * 80),
        ("gpus", DriverGpu * MAX_GPUS),
    )

    @property
    def init_code(self) -> int:
        """What starting NVML fails with; 0 when it succeeds."""
        return int(self.codes[_INIT])

    @init_code.setter
    def init_code(self, code: int) -> None:
        self.codes[_INIT] = code

    @property
    def count_code(self) -> int:
        """What counting the GPUs fails with."""
        return int(self.codes[_COUNT])

    @count_code.setter
    def count_code(self, code: int) -> None:
        self.codes[_COUNT] = code

    @property
    def wait_code(self) -> int:
        """What waiting for events fails with."""
        return int(self.codes[_WAIT])

    @wait_code.setter
    def wait_code(self, code: int) -> None:
        self.codes[_WAIT] = code
