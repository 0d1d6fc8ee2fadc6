"""The simulated driver fails, hangs, loses GPUs and talks nonsense as it is told, and touches no memory but its own."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pynvml
import pytest

from bench.simulated.nvml.driver import GPU_IS_LOST, UNKNOWN, Model, SimulatedDriver
from bench.simulated.nvml.state import MAX_GPUS
from bench.simulated.waiting import wait_until as until
from tests.bench.simulated.nvml.asking import code_of
from tests.device_plugin.drivers import library, simulated

ROOT = Path(__file__).parents[4]


def gpu(index: int = 0) -> Any:
    """The handle of a GPU."""
    return pynvml.nvmlDeviceGetHandleByIndex(index)


def mig(number: int = 0) -> Any:
    """The handle of a MIG device of the second GPU."""
    return pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu(1), number)


def started() -> None:
    """Start NVML once more, and end that."""
    pynvml.nvmlInit()
    pynvml.nvmlShutdown()


def registered() -> None:
    """Register the first GPU's events."""
    events = pynvml.nvmlEventSetCreate()
    try:
        pynvml.nvmlDeviceRegisterEvents(gpu(), 8, events)
    finally:
        pynvml.nvmlEventSetFree(events)


def waited() -> None:
    """Wait for an event of no GPU."""
    events = pynvml.nvmlEventSetCreate()
    try:
        pynvml.nvmlEventSetWait(events, 1)
    finally:
        pynvml.nvmlEventSetFree(events)


def limits(handle: Any) -> None:
    """Read a memory limit."""
    limit = pynvml.c_nvmlGetMemoryLimits_v1_t()
    pynvml.nvmlDeviceGetMemoryLimits_v1(handle, limit)


ON_GPUS: dict[str, Callable[[], Any]] = {
    "HANDLE": gpu,
    "UUID": lambda: pynvml.nvmlDeviceGetUUID(gpu()),
    "NAME": lambda: pynvml.nvmlDeviceGetName(gpu()),
    "MINOR": lambda: pynvml.nvmlDeviceGetMinorNumber(gpu()),
    "PCI": lambda: pynvml.nvmlDeviceGetPciInfo(gpu()),
    "NUMA": lambda: pynvml.nvmlDeviceGetNumaNodeId(gpu()),
    "MIG": lambda: pynvml.nvmlDeviceGetMigMode(gpu()),
    "MEMORY": lambda: pynvml.nvmlDeviceGetMemoryInfo(gpu()),
    "MEMORY_V2": lambda: pynvml.nvmlDeviceGetMemoryInfo(gpu(), version=pynvml.nvmlMemory_v2),
    "RATES": lambda: pynvml.nvmlDeviceGetUtilizationRates(gpu()),
    "POWER": lambda: pynvml.nvmlDeviceGetPowerUsage(gpu()),
    "TEMPERATURE": lambda: pynvml.nvmlDeviceGetTemperature(gpu(), 0),
    "TEMPERATURE_V": lambda: pynvml.nvmlDeviceGetTemperatureV(gpu(), 0),
    "ECC": lambda: pynvml.nvmlDeviceGetTotalEccErrors(gpu(), 0, 0),
    "ROWS": lambda: pynvml.nvmlDeviceGetRemappedRows(gpu()),
    "RETIRED": lambda: pynvml.nvmlDeviceGetRetiredPages(gpu(), 0),
    "RETIRED_PENDING": lambda: pynvml.nvmlDeviceGetRetiredPagesPendingStatus(gpu()),
    "FIELDS": lambda: pynvml.nvmlDeviceGetFieldValues(gpu(), [230]),
    "COMPUTE_PROCESSES": lambda: pynvml.nvmlDeviceGetComputeRunningProcesses_v3(gpu()),
    "GRAPHICS_PROCESSES": lambda: pynvml.nvmlDeviceGetGraphicsRunningProcesses_v3(gpu()),
    "MPS_PROCESSES": lambda: pynvml.nvmlDeviceGetMPSComputeRunningProcesses_v3(gpu()),
    "PROCESS_UTILIZATION": lambda: pynvml.nvmlDeviceGetProcessUtilization(gpu(), 0),
    "CAPABILITY": lambda: pynvml.nvmlDeviceGetCudaComputeCapability(gpu()),
    "PCIE": lambda: pynvml.nvmlDeviceGetMaxPcieLinkWidth(gpu()),
    "NVLINK": lambda: pynvml.nvmlDeviceGetNvLinkState(gpu(), 0),
    "EVENTS": registered,
    "LIMITS": lambda: limits(gpu()),
    "MAX_SLICES": lambda: pynvml.nvmlDeviceGetMaxMigDeviceCount(gpu()),
    "SLICE_HANDLE": lambda: pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu(), 0),
    "IS_SLICE": lambda: pynvml.nvmlDeviceIsMigDeviceHandle(gpu()),
}
ON_SLICES: dict[str, Callable[[], Any]] = {
    "SLICE_HANDLE": mig,
    "UUID": lambda: pynvml.nvmlDeviceGetUUID(mig()),
    "NAME": lambda: pynvml.nvmlDeviceGetName(mig()),
    "MEMORY": lambda: pynvml.nvmlDeviceGetMemoryInfo(mig()),
    "MEMORY_V2": lambda: pynvml.nvmlDeviceGetMemoryInfo(mig(), version=pynvml.nvmlMemory_v2),
    "COMPUTE_PROCESSES": lambda: pynvml.nvmlDeviceGetComputeRunningProcesses_v3(mig()),
    "IS_SLICE": lambda: pynvml.nvmlDeviceIsMigDeviceHandle(mig()),
    "GPU_INSTANCE": lambda: pynvml.nvmlDeviceGetGpuInstanceId(mig()),
    "COMPUTE_INSTANCE": lambda: pynvml.nvmlDeviceGetComputeInstanceId(mig()),
    "PARENT": lambda: pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(mig()),
    "ATTRIBUTES": lambda: pynvml.nvmlDeviceGetAttributes_v2(mig()),
}
ON_DRIVER: dict[str, Callable[[], Any]] = {
    "INIT": started,
    "COUNT": pynvml.nvmlDeviceGetCount,
    "VERSION": pynvml.nvmlSystemGetDriverVersion,
    "EVENT_SET": pynvml.nvmlEventSetCreate,
    "WAIT": waited,
}


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedDriver]:
    """A GPU, one in MIG mode, another GPU, and NVML started."""
    with simulated(tmp_path / "nvml", monkeypatch) as found:
        for _ in range(3):
            found.add(Model())
        found.slice(1, ["1g.5gb"])
        pynvml.nvmlInit()
        yield found
        pynvml.nvmlShutdown()


@pytest.mark.parametrize("code", [UNKNOWN, 11, 17, 28, 1])
def test_every_call_may_fail_with_any_code(driver: SimulatedDriver, code: int) -> None:
    """On a GPU, on a MIG device, and on the driver itself; and works again."""
    driver.state.driver_version = b"615.10"
    where: list[tuple[int | None, int | None, dict[str, Callable[[], Any]]]] = [
        (0, None, ON_GPUS),
        (1, 0, ON_SLICES),
        (None, None, ON_DRIVER),
    ]
    for index, device, calls in where:
        for name, call in calls.items():
            driver.fail(index, name, code, device=device)
            assert (name, code_of(call)) == (name, code)
            driver.fail(index, name, 0, device=device)
            assert code_of(call) != code


def test_every_call_of_the_library_is_in_these_tests(driver: SimulatedDriver) -> None:
    """One that is added needs its way to fail."""
    assert set(driver.calls) == {*ON_GPUS, *ON_SLICES}
    assert set(driver.system_calls) == {*ON_DRIVER, "SHUTDOWN"}


def test_one_device_fails_alone(driver: SimulatedDriver) -> None:
    """Neither its GPU nor another one does."""
    driver.fail(1, "UUID", UNKNOWN, device=0)
    assert [code_of(pynvml.nvmlDeviceGetUUID, handle) for handle in (gpu(0), gpu(1), mig())] == [0, 0, UNKNOWN]


@pytest.mark.parametrize(
    ("index", "device", "name"),
    [(0, None, "MEMORY_V2"), (0, None, "HANDLE"), (1, 0, "UUID"), (None, None, "COUNT"), (None, None, "WAIT")],
)
def test_a_call_may_not_return(driver: SimulatedDriver, index: int | None, device: int | None, name: str) -> None:
    """Until it is released; meanwhile the others answer."""
    call = (ON_DRIVER if index is None else ON_GPUS if device is None else ON_SLICES)[name]
    driver.hang(index, name, device=device)
    thread = threading.Thread(target=code_of, args=(call,))
    thread.start()
    until(lambda: driver.state.hanging == 1)
    assert pynvml.nvmlDeviceGetUUID(gpu(2)).startswith("GPU-")
    assert thread.is_alive()
    driver.release()
    thread.join(10)
    assert (thread.is_alive(), driver.state.hanging) == (False, 0)


@pytest.mark.parametrize("name", ["INIT", "SHUTDOWN"])
def test_starting_and_ending_may_not_return(driver: SimulatedDriver, name: str) -> None:
    """Other threads start and end NVML as before once it goes on."""
    driver.hang(None, name)
    thread = threading.Thread(target=started)
    thread.start()
    until(lambda: driver.state.hanging == 1)
    driver.release()
    thread.join(10)
    assert (thread.is_alive(), driver.state.sessions) == (False, 1)


def test_ending_may_fail(driver: SimulatedDriver) -> None:
    """The session is over all the same."""
    pynvml.nvmlInit()
    driver.fail(None, "SHUTDOWN", UNKNOWN)
    assert (code_of(pynvml.nvmlShutdown), driver.state.sessions) == (UNKNOWN, 1)
    driver.fail(None, "SHUTDOWN", 0)


def uuids() -> list[str]:
    """The GPUs' numbers in NVML's order."""
    return [pynvml.nvmlDeviceGetUUID(gpu(index))[:12] for index in range(pynvml.nvmlDeviceGetCount())]


def test_indices_shift_when_a_gpu_is_removed(driver: SimulatedDriver) -> None:
    """Handles go on meaning the same GPUs; that of the removed one is lost."""
    handles = [gpu(index) for index in range(3)]
    removed = driver.remove(0)
    assert uuids() == ["GPU-00000001", "GPU-00000002"]
    assert [code_of(pynvml.nvmlDeviceGetUUID, handle) for handle in handles] == [GPU_IS_LOST, 0, 0]
    driver.bring_back(removed, 1)
    pynvml.nvmlShutdown()
    pynvml.nvmlInit()
    assert uuids() == ["GPU-00000001", "GPU-00000000", "GPU-00000002"]


def test_a_removed_gpu_is_not_what_is_failed_next(driver: SimulatedDriver) -> None:
    """Python counts as NVML does."""
    driver.remove(0)
    driver.fail(1, "NAME", UNKNOWN)
    assert [code_of(pynvml.nvmlDeviceGetName, handle) for handle in (gpu(0), gpu(1))] == [0, UNKNOWN]


def test_a_session_does_not_see_that_a_gpu_was_reset(driver: SimulatedDriver) -> None:
    """A new one does, once all of the old ones in the program have ended."""
    driver.gpus[0].lost = GPU_IS_LOST
    driver.reset(0)
    started()
    assert code_of(gpu) == GPU_IS_LOST
    pynvml.nvmlShutdown()
    pynvml.nvmlInit()
    assert code_of(gpu) == 0


def test_an_xid_follows_its_gpu(driver: SimulatedDriver) -> None:
    """By the index that it has when it is raised."""
    driver.remove(0)
    events = pynvml.nvmlEventSetCreate()
    pynvml.nvmlDeviceRegisterEvents(gpu(0), 8, events)
    driver.raise_xid(79, 0)
    assert pynvml.nvmlDeviceGetUUID(pynvml.nvmlEventSetWait(events, 100).device)[:12] == "GPU-00000001"
    pynvml.nvmlEventSetFree(events)


def test_there_is_room_for_sixteen_gpus(driver: SimulatedDriver) -> None:
    """Another one is refused."""
    for _ in range(MAX_GPUS - 3):
        driver.add(Model())
    with pytest.raises(ValueError, match="expected at most 16 GPUs"):
        driver.add(Model())


@pytest.mark.parametrize("uuid", [b"", b"G" * 95, b"G" * 96])
def test_uuids_may_be_odd(driver: SimulatedDriver, uuid: bytes) -> None:
    """Empty and long ones are answered; one that fills all of NVML's buffer does not fit."""
    driver.gpus[0].uuid = uuid
    found: Any = code_of(pynvml.nvmlDeviceGetUUID, gpu()) or pynvml.nvmlDeviceGetUUID(gpu())
    assert found == (uuid.decode() if len(uuid) < 96 else pynvml.NVML_ERROR_INSUFFICIENT_SIZE)


def test_a_state_that_is_too_short_is_no_driver(driver: SimulatedDriver) -> None:
    """It is not read past its end."""
    pynvml.nvmlShutdown()
    state, kept = driver.folder / "state", driver.folder / "kept"
    state.rename(kept)
    state.write_bytes(b"x" * 4096)
    assert code_of(pynvml.nvmlInit) == pynvml.NVML_ERROR_DRIVER_NOT_LOADED
    kept.rename(state)
    pynvml.nvmlInit()


_NONSENSE = """
import os, random, sys
from pathlib import Path
import pynvml
from bench.simulated.nvml.driver import SimulatedDriver, loaded_into
import ctypes
from bench.simulated.nvml.state import DriverState
from tests.bench.simulated.nvml.test_driver import ON_DRIVER, ON_GPUS, ON_SLICES, gpu

folder, library = Path(sys.argv[1]), Path(sys.argv[2])
os.environ["NVML_FAKE_DIR"] = str(folder)
driver = SimulatedDriver(folder, library)
size = ctypes.sizeof(DriverState)
beyond = [lambda index=index: pynvml.nvmlDeviceGetUUID(gpu(index)) for index in (2, 15, 16, 4_000_000_000)]
for seed in range(60):
    chance = random.Random(seed)
    ctypes.memmove(ctypes.addressof(driver.state), chance.randbytes(size), size)
    driver.release()
    for target in [driver.state, *driver.state.gpus, *(part for each in driver.state.gpus for part in each.slices)]:
        ctypes.memset(target.codes, 0, ctypes.sizeof(target.codes))
        if target is not driver.state:
            target.lost = 0
    for each in driver.state.gpus:
        each.reset_at, each.mig = 0, chance.choice((-1, 0, 1, 1, 1))
    if seed % 3:
        driver.state.starts = 0
        for place in range(16):
            driver.state.order[place] = chance.choice((place, 16, 4_000_000_000))
    for index in range(4):
        driver.raise_xid(chance.getrandbits(32), gi=chance.getrandbits(32))
    with loaded_into(pynvml, library):
        pynvml.nvmlInit()
        for call in [*ON_GPUS.values(), *ON_SLICES.values(), *list(ON_DRIVER.values())[1:], *beyond]:
            try:
                call()
            except (pynvml.NVMLError, UnicodeDecodeError):
                pass
        pynvml.nvmlShutdown()
print("alive")
"""


@pytest.mark.parametrize("old_driver", [False, True])
def test_no_state_makes_the_library_crash(tmp_path: Path, *, old_driver: bool) -> None:
    """Random bytes in every field; in a process of its own, which a crash would end."""
    (tmp_path / "nvml").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", _NONSENSE, str(tmp_path / "nvml"), str(library(old_driver=old_driver))],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr
