"""A MIG device has its own memory and processes; the rest is measured of its GPU."""

from collections.abc import Iterator

import pytest

from bench.simulated.nvml.driver import GPU_IS_LOST, UNKNOWN, Model, SimulatedDriver
from bench.simulated.nvml.slicing import slice_uuid
from device_plugin.gpus.readings import GpuProcess, GpuReading
from device_plugin.sampling.nvml import load_pynvml
from device_plugin.sampling.nvml_reading import NvmlReader
from extender.contract.units import GpuUuid

A = GpuUuid("GPU-00000000-0000-4000-8000-000000000000")
B = GpuUuid("GPU-00000001-0000-4000-8000-000000000000")
THREE, ONE = (GpuUuid(slice_uuid(A, gi, 0)) for gi in (2, 7))
MIB = 1024 * 1024


@pytest.fixture
def reader(driver: SimulatedDriver) -> Iterator[NvmlReader]:
    """A GPU in MIG mode with two processes, and another GPU."""
    driver.add(Model())
    driver.add(Model())
    driver.slice(0, ["3g.20gb", "1g.5gb"], reserved_mib=10)
    driver.gpus[0].run(11, 100, device=0)
    driver.gpus[0].run(12, 200, device=1)
    found = NvmlReader(load_pynvml, with_slices=True)
    yield found
    found.close()


def test_memory_and_processes_are_those_of_each_device(reader: NvmlReader) -> None:
    """Nobody measures how busy one is."""
    found = {reading.uuid: reading for reading in reader.read()}
    assert [found[THREE], found[ONE]] == [
        GpuReading(THREE, 100 * MIB, 10 * MIB, processes=(GpuProcess(11, 100 * MIB, None),)),
        GpuReading(ONE, 200 * MIB, 10 * MIB, processes=(GpuProcess(12, 200 * MIB, None),)),
    ]
    assert list(found) == [A, THREE, ONE, B]


def test_what_is_of_the_whole_gpu_stays_there(reader: NvmlReader, driver: SimulatedDriver) -> None:
    """Whether or not one may see all of its memory."""
    for monitor in (1, 0):
        driver.state.monitor = monitor
        whole = reader.read()[0]
        assert (whole.uuid, whole.is_sliced, whole.used_bytes, whole.processes) == (A, True, None, None)
        assert (whole.temperature_celsius, whole.power_watts, whole.busy_ratio) == (40, 150.5, None)


def test_facts_are_those_of_the_gpu(reader: NvmlReader) -> None:
    """But NVLinks, which MIG devices do not have."""
    reader.read()
    facts = {each.uuid: each for each in reader.facts()}
    assert {facts[uuid].pci_bus_id for uuid in (A, THREE, ONE)} == {"0000:3b:00.0"}
    assert (facts[ONE].compute_capability, facts[ONE].nvlinks) == ("8.6", ())


def test_a_device_that_does_not_answer_costs_its_own_values(reader: NvmlReader, driver: SimulatedDriver) -> None:
    """One that is lost has only its UUID, or not even that."""
    driver.fail(0, "MEMORY_V2", GPU_IS_LOST, device=0)
    driver.fail(0, "UUID", UNKNOWN, device=1)
    assert [(reading.uuid, reading.used_bytes) for reading in reader.read()] == [(A, None), (THREE, None), (B, 0)]


def test_a_gpu_that_is_lost_half_way_has_no_devices(reader: NvmlReader, driver: SimulatedDriver) -> None:
    """What they use is not known then."""
    driver.fail(0, "POWER", GPU_IS_LOST)
    assert [reading.uuid for reading in reader.read()] == [A, B]


def test_off_reads_no_gpu_in_mig_mode(driver: SimulatedDriver) -> None:
    """It is somebody else's."""
    driver.add(Model())
    driver.slice(0, ["3g.20gb"])
    reader = NvmlReader(load_pynvml)
    assert reader.read() == ()
    reader.close()
