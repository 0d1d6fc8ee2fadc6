"""NVML's answers become samples, and its failures become reasons; the real binding asks a simulated driver."""

import ast
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

import device_plugin
from bench.simulated.nvml.driver import (
    DRIVER_NOT_LOADED,
    GPU_IS_LOST,
    NOT_SUPPORTED,
    UNKNOWN,
    Model,
    SimulatedDriver,
)
from bench.simulated.waiting import wait_until as until
from device_plugin.gpus.gpu import GpuSample, GpuSourceError
from device_plugin.gpus.xids import QUIET_S
from device_plugin.sampling.nvml import HELD, NO_SIZE, NvmlSource, load_pynvml
from device_plugin.settings import GivenMemory
from extender.contract.units import GpuUuid
from tests.device_plugin.drivers import simulated

A = GpuUuid("GPU-00000000-0000-4000-8000-000000000000")
B = GpuUuid("GPU-00000001-0000-4000-8000-000000000000")


class Clock:
    """Seconds that tests move."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """The source's clock."""
    return Clock()


@pytest.fixture
def source(driver: SimulatedDriver, clock: Clock, tmp_path: Path) -> Iterator[NvmlSource]:
    """The source under test, over two GPUs."""
    driver.add(Model())
    driver.add(Model("Tesla T4", 15360, 450))
    found = NvmlSource(clock_s=clock, sysfs_pci=tmp_path)
    yield found
    found.close()


def test_gpus_of_different_sizes_are_read(source: NvmlSource) -> None:
    """UUID, index, model, NUMA node, and the memory that processes can get: what the driver reserves is not in it."""
    assert source.sample() == (
        GpuSample(A, 0, "NVIDIA A10", 23028 - 500, numa_node=0),
        GpuSample(B, 1, "Tesla T4", 15360 - 450, numa_node=0),
    )


def test_lesson_12_an_index_is_not_a_minor_number(source: NvmlSource, driver: SimulatedDriver) -> None:
    """A gap in the minor numbers changes nothing: they are not asked for."""
    for gpu in driver.gpus:
        gpu.minor_number += 7
    assert [(sample.uuid, sample.index) for sample in source.sample()] == [(A, 0), (B, 1)]


def test_older_drivers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No memory of version 2 and so no word of what is reserved; the NUMA node from sysfs."""
    with simulated(tmp_path / "old", monkeypatch, old_driver=True) as driver:
        driver.add(Model())
        (tmp_path / "0000:3b:00.0").mkdir()
        (tmp_path / "0000:3b:00.0" / "numa_node").write_text("1\n")
        source = NvmlSource(sysfs_pci=tmp_path)
        assert source.sample() == (GpuSample(A, 0, "NVIDIA A10", 23028, numa_node=1),)
        source.close()


@pytest.mark.parametrize("text", [None, "-1\n", "nonsense"])
def test_an_unknown_numa_node_is_none(
    source: NvmlSource, driver: SimulatedDriver, tmp_path: Path, text: str | None
) -> None:
    """-1 is the kernel's word for it."""
    driver.gpus[0].numa_node = -1
    if text is not None:
        (tmp_path / "0000:3b:00.0").mkdir()
        (tmp_path / "0000:3b:00.0" / "numa_node").write_text(text)
    assert source.sample()[0].numa_node is None


def test_mig_gpus_are_left_out_with_a_reason(
    source: NvmlSource, driver: SimulatedDriver, caplog: pytest.LogCaptureFixture
) -> None:
    """The other keeps its NVML index; it is said once, and can be asked for."""
    driver.gpus[0].mig = 1
    found = [[(sample.uuid, sample.index) for sample in source.sample()] for _ in range(2)]
    why = "MIG is enabled on it, and MIG devices are not shared further"
    assert (found, source.left_out) == ([[(B, 1)]] * 2, {"0": why})
    assert [record.message for record in caplog.records] == [f"GPU with index 0 is left out: {why}"]


def test_mig_may_be_turned_on_and_off(source: NvmlSource, driver: SimulatedDriver) -> None:
    """A GPU that is cut up is not a GPU that is missing, if no pod has it."""
    source.slices.held = tuple
    found = []
    for mig in (0, 1, 0):
        driver.gpus[0].mig = mig
        found.append([(sample.uuid, sample.healthy) for sample in source.sample()])
    assert found == [[(A, True), (B, True)], [(B, True)], [(A, True), (B, True)]]


def test_a_gpu_that_a_pod_has_stays_when_mig_is_turned_on(source: NvmlSource, driver: SimulatedDriver) -> None:
    """Unhealthy, also while it is not known what pods have; then it is left out, as one that never was a GPU."""
    found = [source.sample()]
    driver.gpus[0].mig = 1
    answers = iter((None, {A}, ()))
    source.slices.held = lambda: next(answers)
    found += [source.sample() for _ in range(3)]
    assert [[(each.uuid, each.reason) for each in samples] for samples in found] == [
        [(A, ""), (B, "")],
        [(A, HELD), (B, "")],
        [(A, HELD), (B, "")],
        [(B, "")],
    ]
    assert source.left_out.keys() == {"0"}


def test_gpus_without_mig_say_that_it_is_not_supported(source: NvmlSource, driver: SimulatedDriver) -> None:
    """And are shared."""
    driver.gpus[0].mig = -1
    assert [sample.uuid for sample in source.sample()] == [A, B]


def test_a_lost_gpu_is_one_gpu_lost_and_comes_back(source: NvmlSource, driver: SimulatedDriver) -> None:
    """What was known of it stays; the other is as it was."""
    good = source.sample()
    driver.gpus[0].lost = GPU_IS_LOST
    lost = source.sample()
    driver.gpus[0].lost = 0
    assert [(sample.healthy, sample.reason) for sample in lost] == [(False, "NVML: GPU is lost"), (True, "")]
    assert [(sample.uuid, sample.memory_mib) for sample in lost] == [
        (sample.uuid, sample.memory_mib) for sample in good
    ]
    assert source.sample() == good


def test_a_gpu_that_vanishes_from_the_list_stays_as_unhealthy(source: NvmlSource, driver: SimulatedDriver) -> None:
    """Its pods are still on it; it is as it was when NVML shows it again."""
    good = source.sample()
    driver.state.gpu_count = 1
    assert [(sample.healthy, sample.reason) for sample in source.sample()] == [
        (True, ""),
        (False, "NVML no longer shows it"),
    ]
    driver.state.gpu_count = 2
    assert source.sample() == good


def test_indices_that_change_at_a_new_start_are_not_mixed_up(source: NvmlSource, driver: SimulatedDriver) -> None:
    """The first GPU fell off the bus, the second one moved up, and no UUID is there twice."""
    source.sample()
    driver.state.count_code = UNKNOWN
    with pytest.raises(GpuSourceError):
        source.sample()
    driver.state.count_code = 0
    first, second = (bytes(gpu) for gpu in driver.gpus)
    driver.state.gpus[0] = type(driver.gpus[0]).from_buffer_copy(second)
    driver.state.gpus[1] = type(driver.gpus[0]).from_buffer_copy(first)
    driver.gpus[1].lost = GPU_IS_LOST
    assert [(sample.uuid, sample.index, sample.reason) for sample in source.sample()] == [
        (B, 0, ""),
        (A, 0, "NVML: GPU is lost"),
    ]


def test_a_gpu_that_never_answered_is_left_out(source: NvmlSource, driver: SimulatedDriver) -> None:
    """Without a UUID or a size there is nothing to advertise; the other works."""
    driver.fail(0, "UUID", UNKNOWN)
    driver.fail(1, "NAME", 0)
    assert [sample.uuid for sample in source.sample()] == [B]
    driver.fail(0, "UUID", 0)
    for call in ("MEMORY", "MEMORY_V2"):
        driver.fail(0, call, NOT_SUPPORTED)
    assert [sample.uuid for sample in source.sample()] == [B]
    assert source.left_out == {"0": NO_SIZE}


def test_gpus_that_share_the_machines_memory_have_what_is_set_for_them(driver: SimulatedDriver, tmp_path: Path) -> None:
    """By product name; where NVML gives a size, that counts; a failure is one there, too."""
    driver.add(Model("NVIDIA GB10"))
    driver.add(Model())
    driver.add(Model("Orin"))
    for index, call in product((0, 2), ("MEMORY", "MEMORY_V2")):
        driver.fail(index, call, NOT_SUPPORTED)
    source = NvmlSource(sysfs_pci=tmp_path, given_memory=GivenMemory((("*GB10*", 110000), ("*A10*", 5))))
    found = [[(each.index, each.memory_mib, each.healthy) for each in source.sample()] for _ in range(2)]
    left_out = source.left_out
    driver.fail(0, "MEMORY_V2", UNKNOWN)
    found.append([(each.index, each.memory_mib, each.healthy) for each in source.sample()])
    source.close()
    well = [(0, 110000, True), (1, 22528, True)]
    assert (found, left_out) == ([well, well, [(0, 110000, False), (1, 22528, True)]], {"2": NO_SIZE})


@pytest.mark.parametrize("call", ["MIG", "NUMA", "PCI", "MEMORY_V2", "ROWS", "FIELDS", "EVENTS", "MEMORY"])
def test_calls_that_are_not_supported_leave_a_gpu_healthy(
    source: NvmlSource, driver: SimulatedDriver, call: str
) -> None:
    """Each on its own."""
    driver.fail(0, call, NOT_SUPPORTED)
    assert [sample.healthy for sample in source.sample()] == [True, True]


def test_lesson_19_an_nvml_that_cannot_start_says_so_and_is_tried_again(
    source: NvmlSource, driver: SimulatedDriver
) -> None:
    """The reason and a hint; the next sample starts it."""
    driver.state.init_code = DRIVER_NOT_LOADED
    with pytest.raises(GpuSourceError, match=r"NVML cannot start: Driver Not Loaded; load the NVIDIA kernel module"):
        source.sample()
    driver.state.init_code = 0
    assert [sample.uuid for sample in source.sample()] == [A, B]


def test_an_nvml_that_fails_half_way_is_started_again(source: NvmlSource, driver: SimulatedDriver) -> None:
    """It is ended first."""
    good = source.sample()
    driver.state.count_code = UNKNOWN
    with pytest.raises(GpuSourceError, match="cannot count the GPUs"):
        source.sample()
    driver.state.count_code = 0
    assert source.sample() == good


def test_a_critical_xid_marks_the_gpu_until_it_is_quiet(
    source: NvmlSource, driver: SimulatedDriver, clock: Clock
) -> None:
    """The others stay as they are, and an application's XID is nothing but counted."""
    source.sample()
    until(lambda: driver.state.registrations == 2)
    driver.raise_xid(43, 1)
    driver.raise_xid(79, 0)
    until(lambda: not source.sample()[0].healthy)
    assert [(sample.healthy, sample.reason) for sample in source.sample()] == [(False, "XID 79"), (True, "")]
    assert source.xid_counts == {(B, 43): 1, (A, 79): 1}
    clock.now_s += QUIET_S
    assert [sample.healthy for sample in source.sample()] == [True, True]


def test_an_xid_of_an_unknown_gpu_marks_all(source: NvmlSource, driver: SimulatedDriver) -> None:
    """The driver does not always say which one it was."""
    source.sample()
    until(lambda: driver.state.registrations == 2)
    driver.raise_xid(79)
    until(lambda: [sample.healthy for sample in source.sample()] == [False, False])


def test_a_wait_for_xids_that_fails_is_begun_anew(source: NvmlSource, driver: SimulatedDriver) -> None:
    """As it does when a GPU falls off the bus; all GPUs are registered again."""
    source.sample()
    until(lambda: driver.state.registrations == 2)
    driver.state.wait_code = GPU_IS_LOST
    until(lambda: driver.state.sessions == 1)
    driver.state.wait_code = 0
    until(lambda: driver.state.registrations == 4)
    driver.raise_xid(79, 0)
    until(lambda: not source.sample()[0].healthy)


def test_a_gpu_that_comes_back_is_listened_to_again(source: NvmlSource, driver: SimulatedDriver) -> None:
    """Its registration did not survive the reset."""
    driver.fail(0, "EVENTS", GPU_IS_LOST)
    source.sample()
    until(lambda: driver.state.registrations == 1)
    driver.gpus[0].lost = GPU_IS_LOST
    source.sample()
    driver.gpus[0].lost = 0
    driver.fail(0, "EVENTS", 0)
    source.sample()
    # A fourth is one that was tried meanwhile.
    until(lambda: driver.state.registrations >= 3)


def test_a_driver_that_asks_for_recovery_is_heard(source: NvmlSource, driver: SimulatedDriver) -> None:
    """A pending reset is not healed by time."""
    driver.gpus[0].recovery_action = 1
    assert source.sample()[0].reason == "the driver asks for a recovery action"
    driver.gpus[0].recovery_action = 0
    assert source.sample()[0].healthy


def test_memory_without_spare_rows_is_the_end_of_a_gpu(source: NvmlSource, driver: SimulatedDriver) -> None:
    """Rows that were replaced, or will be at the next reset, are not."""
    driver.gpus[0].rows[:] = [1, 1, 1, 0]
    assert source.sample()[0].healthy
    driver.gpus[0].rows[3] = 1
    assert source.sample()[0].reason.startswith("row remapping failed")


def test_the_binding_is_imported_in_one_module_only() -> None:
    """Whatever else asks NVML is given the binding."""
    assert load_pynvml().__name__ == "pynvml"
    importers = {
        path.name
        for path in Path(device_plugin.__path__[0]).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import) and any(alias.name == "pynvml" for alias in node.names)
    }
    assert importers == {"nvml.py"}


def test_memory_in_use_is_known_from_the_health_queries(source: NvmlSource, driver: SimulatedDriver) -> None:
    """Of the GPUs that answer, for when nobody measures; not of one that is lost."""
    driver.gpus[1].used_bytes = 7 << 30
    source.sample()
    assert [reading.used_bytes for reading in source.memory_in_use] == [0, 7 << 30]
    driver.gpus[0].lost = GPU_IS_LOST
    source.sample()
    assert [reading.used_bytes for reading in source.memory_in_use] == [7 << 30]


def test_an_nvml_that_shows_no_gpu_is_not_read(source: NvmlSource, driver: SimulatedDriver) -> None:
    """Its container lacks the device files, or the driver its GPUs; NVML is started anew for them."""
    driver.state.gpu_count = 0
    with pytest.raises(GpuSourceError, match="NVML shows no GPU"):
        source.sample()
    assert (source.has_lost, driver.state.sessions) == (True, 0)
    driver.state.gpu_count = 2
    assert ([sample.healthy for sample in source.sample()], source.has_lost) == ([True, True], False)
