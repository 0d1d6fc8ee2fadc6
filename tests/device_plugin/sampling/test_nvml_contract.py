"""What the plugin relies on of NVML: true of the simulated driver, and of a real one wherever these tests find it."""

from collections.abc import Iterator
from pathlib import Path

import pynvml
import pytest

from bench.simulated.nvml.driver import Model, loaded_into
from device_plugin.sampling.nvml import NvmlSource, load_pynvml
from device_plugin.sampling.nvml_reading import NvmlReader
from device_plugin.sampling.nvml_session import NvmlSession
from tests.device_plugin.drivers import real_library, simulated

_SLACK_BYTES = 64 * 1024 * 1024
"""Somebody else may use a real GPU between two questions."""


@pytest.fixture(params=["simulated", "real"])
def nvml(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """The binding on either driver, NVML started."""
    if request.param == "simulated":
        with simulated(tmp_path / "nvml", monkeypatch) as driver:
            for model in (Model(), Model("Tesla T4", 15360, 450)):
                driver.add(model).run(4242, 1000, sm_percent=10)
            yield from _started()
        return
    library = real_library()
    if library is None:
        pytest.skip("no NVIDIA driver on this machine")
    with loaded_into(pynvml, library):
        yield from _started()


def _started() -> Iterator[object]:
    session = NvmlSession(load_pynvml)
    yield session.start()
    session.end()


@pytest.fixture
def source(nvml: object) -> Iterator[NvmlSource]:  # noqa: ARG001 - starts it
    """A source over that driver."""
    found = NvmlSource()
    yield found
    found.close()


@pytest.fixture
def reader(nvml: object) -> Iterator[NvmlReader]:  # noqa: ARG001 - starts it
    """A reader over that driver."""
    found = NvmlReader(load_pynvml)
    yield found
    found.close()


def test_samples_are_stable(source: NvmlSource) -> None:
    """Two looks see the same GPUs: UUIDs once each, some memory, indices that rise."""
    first, second = source.sample(), source.sample()
    assert first == second
    assert [sample.index for sample in first] == sorted({sample.index for sample in first})
    assert all(sample.uuid.startswith("GPU-") and sample.memory_mib > 0 and sample.model for sample in first)
    assert len(first) + len(source.left_out) > 0


def test_readings_are_of_the_samples_gpus(source: NvmlSource, reader: NvmlReader) -> None:
    """Every GPU that is offered is measured."""
    offered = [sample.uuid for sample in source.sample() if sample.healthy]
    assert [reading.uuid for reading in reader.read()] == offered


def test_version_2_of_memory_tells_the_reserved_part_apart(reader: NvmlReader) -> None:
    """Used and reserved are disjoint: total = used + reserved + free, and version 1 has both in `used`."""
    reader.read()
    for index in range(pynvml.nvmlDeviceGetCount()):
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
        assert memory.used + memory.reserved + memory.free == pytest.approx(memory.total, abs=_SLACK_BYTES)
        older = pynvml.nvmlDeviceGetMemoryInfo(handle)
        assert older.total == memory.total
        assert older.used == pytest.approx(memory.used + memory.reserved, abs=_SLACK_BYTES)


def test_processes_use_no_more_than_the_gpu(reader: NvmlReader) -> None:
    """And each is listed once."""
    for reading in reader.read():
        processes = reading.processes or ()
        assert len({process.pid for process in processes}) == len(processes)
        assert sum(process.used_bytes or 0 for process in processes) <= (reading.used_bytes or 0) + (
            reading.reserved_bytes or 0
        )


def test_measurements_are_in_their_units(reader: NvmlReader) -> None:
    """A chip between freezing and boiling over, a power supply for a few kilowatts, ratios of 1."""
    for reading in reader.read():
        assert reading.temperature_celsius is None or 0 < reading.temperature_celsius < 120
        assert reading.power_watts is None or 0 < reading.power_watts < 3000
        assert reading.busy_ratio is None or 0 <= reading.busy_ratio <= 1
        assert all(process.sm_ratio is None or 0 <= process.sm_ratio <= 1 for process in reading.processes or ())


def test_facts_are_known_of_every_gpu_that_was_read(reader: NvmlReader) -> None:
    """PCI bus ID as in /sys, and a driver version."""
    readings = reader.read()
    facts = reader.facts()
    assert [each.uuid for each in facts] == [reading.uuid for reading in readings]
    assert all(each.driver_version and each.pci_bus_id and len(each.pci_bus_id) == 12 for each in facts)


def test_the_wait_for_xids_ends_soon(
    nvml: object,  # noqa: ARG001 - starts it
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A plugin that is told to stop does not hang in the driver, which it would say."""
    source = NvmlSource()
    source.sample()
    source.close()
    assert "NVML does not return" not in caplog.text


@pytest.fixture(params=["simulated", "real"])
def slices(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NvmlSource]:
    """A source with MIG devices, of either driver; a real one is taken as it is, and never put into MIG mode."""
    if request.param == "simulated":
        with simulated(tmp_path / "nvml", monkeypatch) as driver:
            driver.add(Model("NVIDIA A100-SXM4-40GB", 40960, 600))
            driver.slice(0, ["3g.20gb", "2g.10gb", "1g.5gb"])
            driver.gpus[0].run(4242, 1000, device=1)
            yield from _with_slices()
        return
    library = real_library()
    if library is None:
        pytest.skip("no NVIDIA driver on this machine")
    with loaded_into(pynvml, library):
        yield from _with_slices()


def _with_slices() -> Iterator[NvmlSource]:
    source, session = NvmlSource(with_slices=True), NvmlSession(load_pynvml)
    session.start()
    try:
        if not any(sample.mig for sample in source.sample()):
            pytest.skip("no MIG devices on this machine")
        yield source
    finally:
        source.close()
        session.end()


def test_mig_devices_are_where_they_say(slices: NvmlSource) -> None:
    """Found by UUID they have the same IDs, and the same GPU, which is none of them."""
    for sample in (sample for sample in slices.sample() if sample.mig is not None):
        handle = pynvml.nvmlDeviceGetHandleByUUID(sample.uuid)
        card = pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
        found = (pynvml.nvmlDeviceGetGpuInstanceId(handle), pynvml.nvmlDeviceGetComputeInstanceId(handle))
        assert sample.mig is not None
        assert found == (sample.mig.gi, sample.mig.ci)
        assert pynvml.nvmlDeviceGetUUID(card) == sample.mig.parent
        assert [bool(pynvml.nvmlDeviceIsMigDeviceHandle(each).value) for each in (handle, card)] == [True, False]


def test_mig_devices_have_a_size_a_name_and_a_part_of_their_gpu(slices: NvmlSource) -> None:
    """The name has the profile; the parts of one GPU are no more than all of it, and no two have one UUID."""
    found = [sample for sample in slices.sample() if sample.mig is not None]
    assert all(sample.uuid.startswith("MIG-") and sample.memory_mib > 0 for sample in found)
    assert len({sample.uuid for sample in found}) == len(found)
    parts: dict[str, float] = {}
    for sample in found:
        assert sample.mig is not None
        assert sample.model.endswith(f"MIG {sample.mig.profile}")
        parts[sample.mig.parent] = parts.get(sample.mig.parent, 0) + sample.mig.share
    assert all(part <= 1.0001 for part in parts.values())


def test_mig_devices_are_measured_and_their_gpu_apart_from_them(slices: NvmlSource) -> None:
    """Use and processes are those of each device, and utilization is measured of none."""
    offered = {sample.uuid: sample for sample in slices.sample() if sample.mig is not None}
    reader = NvmlReader(load_pynvml, with_slices=True)
    readings = {reading.uuid: reading for reading in reader.read()}
    reader.close()
    assert offered.keys() <= readings.keys()
    for uuid, sample in offered.items():
        assert sample.mig is not None
        assert (readings[sample.mig.parent].is_sliced, readings[uuid].is_sliced) == (True, False)
        assert readings[uuid].busy_ratio is None
        assert (readings[uuid].used_bytes or 0) <= (sample.memory_mib + 1) * 1024 * 1024
