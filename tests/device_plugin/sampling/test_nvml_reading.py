"""What NVML measures becomes readings; what it does not say is None; the real binding asks a simulated driver."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.simulated.nvml.driver import (
    DRIVER_NOT_LOADED,
    GPU_IS_LOST,
    NO_PERMISSION,
    NOT_SUPPORTED,
    UNKNOWN,
    Model,
    SimulatedDriver,
)
from bench.simulated.nvml.state import COMPUTE, GRAPHICS, MPS
from device_plugin.gpus.gpu import GpuSourceError
from device_plugin.gpus.readings import GpuFacts, GpuProcess, GpuReading, RowRemaps
from device_plugin.sampling.nvml import load_pynvml
from device_plugin.sampling.nvml_reading import NvmlReader
from extender.contract.units import GpuUuid
from tests.device_plugin.drivers import simulated

A = GpuUuid("GPU-00000000-0000-4000-8000-000000000000")
MIB = 1024 * 1024
IDLE = GpuReading(
    uuid=A,
    used_bytes=0,
    reserved_bytes=500 * MIB,
    busy_ratio=0.5,
    memory_busy_ratio=0.25,
    temperature_celsius=40,
    power_watts=150.5,
    corrected_errors=0,
    uncorrected_errors=0,
    row_remaps=RowRemaps(0, 0, is_pending=False, has_failed=False),
    retired_pages=0,
    is_retirement_pending=False,
    processes=(),
)


@pytest.fixture
def reader(driver: SimulatedDriver) -> Iterator[NvmlReader]:
    """The reader under test, over one idle GPU."""
    driver.add(Model())
    found = NvmlReader(load_pynvml)
    yield found
    found.close()


def test_an_idle_gpu(reader: NvmlReader) -> None:
    """What the driver reserves for itself is not used."""
    assert reader.read() == (IDLE,)


@pytest.mark.parametrize(
    ("calls", "missing"),
    [
        (["MEMORY_V2", "MEMORY"], {"used_bytes": None, "reserved_bytes": None}),
        (["RATES"], {"busy_ratio": None, "memory_busy_ratio": None}),
        (["TEMPERATURE_V", "TEMPERATURE"], {"temperature_celsius": None}),
        (["POWER"], {"power_watts": None}),
        (["ECC"], {"corrected_errors": None, "uncorrected_errors": None}),
        (["ROWS"], {"row_remaps": None}),
        (["RETIRED"], {"retired_pages": None}),
        (["RETIRED_PENDING"], {"is_retirement_pending": None}),
        (["COMPUTE_PROCESSES"], {"processes": None}),
        (["TEMPERATURE_V", "GRAPHICS_PROCESSES", "MPS_PROCESSES", "PROCESS_UTILIZATION"], {}),
    ],
)
@pytest.mark.parametrize("code", [NOT_SUPPORTED, NO_PERMISSION, UNKNOWN])
def test_every_call_may_fail_on_its_own(
    reader: NvmlReader, driver: SimulatedDriver, calls: list[str], missing: dict[str, Any], code: int
) -> None:
    """None, never 0, and everything else as before."""
    for call in calls:
        driver.fail(0, call, code)
    assert reader.read() == (replace(IDLE, **missing),)


def test_memory_errors_are_counted(reader: NvmlReader, driver: SimulatedDriver) -> None:
    """ECC, replaced rows, retired pages."""
    gpu = driver.gpus[0]
    gpu.corrected, gpu.uncorrected, gpu.retired_pages, gpu.retired_pending = 7, 2, 3, 1
    gpu.rows[:] = [5, 1, 1, 0]
    assert reader.read() == (
        replace(
            IDLE,
            corrected_errors=7,
            uncorrected_errors=2,
            row_remaps=RowRemaps(5, 1, is_pending=True, has_failed=False),
            retired_pages=3,
            is_retirement_pending=True,
        ),
    )


def test_processes_of_all_kinds_are_listed_once(reader: NvmlReader, driver: SimulatedDriver) -> None:
    """One with a compute and a graphics context counts once; memory that is not known is None."""
    gpu = driver.gpus[0]
    gpu.run(10, 1000, kinds=COMPUTE | GRAPHICS, sm_percent=40)
    gpu.run(11, 300, kinds=GRAPHICS)
    gpu.run(12, 2000, kinds=MPS | COMPUTE, sm_percent=30)
    gpu.run(13, None)
    assert reader.read()[0].processes == (
        GpuProcess(10, 1000 * MIB, 0.4),
        GpuProcess(11, 300 * MIB, 0.0),
        GpuProcess(12, 2000 * MIB, 0.3),
        GpuProcess(13, None, 0.0),
    )


def test_processes_come_and_go(reader: NvmlReader, driver: SimulatedDriver) -> None:
    """What they computed is told once; then they are idle until the driver says something new."""
    gpu, found = driver.gpus[0], []
    gpu.run(10, 1000, sm_percent=40)
    found.append(reader.read()[0].processes)
    found.append(reader.read()[0].processes)
    gpu.run(10, 1500, sm_percent=60)
    found.append(reader.read()[0].processes)
    gpu.end(10)
    found.append(reader.read()[0].processes)
    assert found == [
        (GpuProcess(10, 1000 * MIB, 0.4),),
        (GpuProcess(10, 1000 * MIB, 0.0),),
        (GpuProcess(10, 1500 * MIB, 0.6),),
        (),
    ]


def test_utilization_of_processes_may_not_be_measured(reader: NvmlReader, driver: SimulatedDriver) -> None:
    """Then it is None, not idle."""
    driver.gpus[0].run(10, 1000, sm_percent=40)
    driver.fail(0, "PROCESS_UTILIZATION", NOT_SUPPORTED)
    assert reader.read()[0].processes == (GpuProcess(10, 1000 * MIB, None),)


def test_more_processes_than_fit_the_first_answer(reader: NvmlReader, driver: SimulatedDriver) -> None:
    """64 of them."""
    for pid in range(1, 65):
        driver.gpus[0].run(pid, 100)
    processes = reader.read()[0].processes
    assert processes is not None
    assert [process.pid for process in processes] == list(range(1, 65))


def test_a_lost_gpu_costs_its_own_reading(reader: NvmlReader, driver: SimulatedDriver) -> None:
    """Half-way, or from the start; memory that is known to be in use is not free because of it."""
    driver.add(Model())
    driver.fail(0, "POWER", GPU_IS_LOST)
    assert [reading.power_watts for reading in reader.read()] == [None, 150.5]
    assert reader.read()[0] == GpuReading(A, used_bytes=0, reserved_bytes=500 * MIB, processes=())
    driver.fail(0, "COMPUTE_PROCESSES", GPU_IS_LOST)
    assert reader.read()[0] == GpuReading(A, used_bytes=0, reserved_bytes=500 * MIB)
    driver.fail(0, "MEMORY_V2", GPU_IS_LOST)
    assert reader.read()[0] == GpuReading(A)
    driver.fail(0, "HANDLE", GPU_IS_LOST)
    assert [reading.uuid[:12] for reading in reader.read()] == ["GPU-00000001"]


def test_no_process_uses_more_than_there_is(reader: NvmlReader, driver: SimulatedDriver) -> None:
    """A number that cannot be counts as all of it."""
    gpu = driver.gpus[0]
    gpu.run(10, 1 << 43)
    gpu.used_bytes = 1 << 63
    (reading,) = reader.read()
    assert (reading.used_bytes, reading.processes) == (23028 * MIB, (GpuProcess(10, 23028 * MIB, 0.0),))


@pytest.mark.parametrize("field", ["uuid", "name", "bus_id"])
def test_texts_that_are_no_utf_8(reader: NvmlReader, driver: SimulatedDriver, field: str) -> None:
    """They cost a GPU its reading at most, and the other nothing."""
    setattr(driver.add(Model()), field, b"\xff\xfe")
    assert IDLE in reader.read()


def test_mig_gpus_are_not_read(reader: NvmlReader, driver: SimulatedDriver) -> None:
    """They are not offered either."""
    driver.gpus[0].mig = 1
    assert reader.read() == ()


def test_an_nvml_that_cannot_start_or_fails_later(reader: NvmlReader, driver: SimulatedDriver) -> None:
    """Says so each time, and works when it can again."""
    driver.state.init_code = DRIVER_NOT_LOADED
    with pytest.raises(GpuSourceError, match="Driver Not Loaded"):
        reader.read()
    driver.state.init_code = 0
    assert reader.read() == (IDLE,)
    driver.state.count_code = UNKNOWN
    with pytest.raises(GpuSourceError, match="cannot count"):
        reader.read()
    driver.state.count_code = 0
    assert reader.read() == (IDLE,)


def test_facts(reader: NvmlReader, driver: SimulatedDriver) -> None:
    """PCI, minor number, capability, driver, NVLinks by their other end."""
    gpu = driver.gpus[0]
    gpu.nvlinks, gpu.minor_number = 4, 5
    reader.read()
    assert reader.facts() == (GpuFacts(A, "0000:3b:00.0", 5, "8.6", "580.95.05", 4, 16, (("0000:3c:00.0", 4),)),)


def test_facts_are_asked_again_when_nvml_starts_again(reader: NvmlReader, driver: SimulatedDriver) -> None:
    """The driver was updated meanwhile; until a GPU answers again, what it said before stands."""
    reader.read()
    driver.state.count_code = UNKNOWN
    with pytest.raises(GpuSourceError):
        reader.read()
    driver.state.count_code, driver.state.driver_version = 0, b"615.12.03"
    assert [facts.driver_version for facts in reader.facts()] == ["580.95.05"]
    reader.read()
    assert [facts.driver_version for facts in reader.facts()] == ["615.12.03"]


def test_facts_that_are_not_told(reader: NvmlReader, driver: SimulatedDriver) -> None:
    """Each is None."""
    for call in ("PCI", "MINOR", "CAPABILITY", "PCIE", "NVLINK"):
        driver.fail(0, call, NOT_SUPPORTED)
    reader.read()
    assert reader.facts() == (GpuFacts(A, driver_version="580.95.05"),)


def test_older_drivers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Used contains what is reserved, and nobody says how much that is; processes come in the older form."""
    with simulated(tmp_path / "old", monkeypatch, old_driver=True) as driver:
        driver.add(Model()).run(10, 1000)
        reader = NvmlReader(load_pynvml)
        (reading,) = reader.read()
        reader.close()
    assert (reading.used_bytes, reading.reserved_bytes) == (1500 * MIB, None)
    assert (reading.temperature_celsius, reading.processes) == (40, (GpuProcess(10, 1000 * MIB, 0.0),))
