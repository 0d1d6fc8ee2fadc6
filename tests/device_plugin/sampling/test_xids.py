"""XIDs reach their own GPU, also when it can't say any more who it is; each GPU that answers is listened to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.simulated.nvml.driver import GPU_IS_LOST, NOT_SUPPORTED, UNKNOWN, Model, SimulatedDriver
from bench.simulated.waiting import wait_until as until
from device_plugin.gpus.gpu import NO_ANSWER
from device_plugin.sampling.nvml import NvmlSource
from extender.contract.units import GpuUuid

A = GpuUuid("GPU-00000000-0000-4000-8000-000000000000")
B = GpuUuid("GPU-00000001-0000-4000-8000-000000000000")
C = GpuUuid("GPU-00000002-0000-4000-8000-000000000000")


@pytest.fixture
def source(driver: SimulatedDriver, tmp_path: Path) -> Iterator[NvmlSource]:
    """The source under test, over two GPUs."""
    driver.add(Model())
    driver.add(Model())
    found = NvmlSource(sysfs_pci=tmp_path)
    yield found
    found.close()


def is_watched(source: NvmlSource) -> bool:
    """Whether all GPUs that answer are listened to, as of a new sample."""
    source.sample()
    return source.unwatched == {}


def reasons(source: NvmlSource) -> dict[GpuUuid, str]:
    """What is wrong with each GPU."""
    return {sample.uuid: sample.reason for sample in source.sample()}


@pytest.mark.parametrize("calls", [("UUID",), ("UUID", "PCI")])
def test_the_xid_of_a_gpu_that_fell_off_the_bus_is_its_own(
    source: NvmlSource, driver: SimulatedDriver, calls: tuple[str, ...]
) -> None:
    """Its handle says nothing any more, but is known from the registration."""
    until(lambda: is_watched(source))
    for call in calls:
        driver.fail(0, call, GPU_IS_LOST)
    driver.raise_xid(79, 0)
    until(lambda: bool(source.xid_counts))
    assert source.xid_counts == {(A, 79): 1}
    assert reasons(source)[B] == ""
    for call in calls:
        driver.fail(0, call, 0)
    assert reasons(source) == {A: "XID 79", B: ""}


def test_a_gpu_that_comes_later_is_listened_to(source: NvmlSource, driver: SimulatedDriver) -> None:
    """As is one that becomes queryable later."""
    driver.fail(1, "UUID", UNKNOWN)
    until(lambda: is_watched(source))
    driver.add(Model())
    driver.fail(1, "UUID", 0)
    until(lambda: is_watched(source))
    for index in (1, 2):
        driver.raise_xid(79, index)
    until(lambda: len(source.xid_counts) == 2)
    assert reasons(source) == {A: "", B: "XID 79", C: "XID 79"}


def test_a_gpu_that_cannot_be_listened_to_is_tried_again(
    source: NvmlSource, driver: SimulatedDriver, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said which and why, and stays healthy: its state is still polled. The other is listened to meanwhile."""
    driver.fail(1, "EVENTS", UNKNOWN)
    source.sample()
    until(lambda: source.unwatched == {B: "Unknown Error"})
    assert f"GPU {B} reports no XIDs: Unknown Error" in caplog.text
    driver.raise_xid(79, 0)
    until(lambda: reasons(source) == {A: "XID 79", B: ""})
    driver.fail(1, "EVENTS", 0)
    until(lambda: is_watched(source))
    driver.raise_xid(48, 1)
    until(lambda: reasons(source)[B] == "XID 48")


def test_gpus_without_events(source: NvmlSource, driver: SimulatedDriver) -> None:
    """Those of a hypervisor's guest, for example."""
    driver.fail(0, "EVENTS", NOT_SUPPORTED)
    source.sample()
    until(lambda: source.unwatched == {A: "Not Supported"})
    assert reasons(source) == {A: "", B: ""}


def test_a_wait_that_fails_watches_nothing(source: NvmlSource, driver: SimulatedDriver) -> None:
    """Until it works again."""
    until(lambda: is_watched(source))
    driver.state.wait_code = UNKNOWN
    until(lambda: source.unwatched == {A: "Unknown Error", B: "Unknown Error"})
    driver.state.wait_code = 0
    until(lambda: is_watched(source))


def test_a_wait_that_never_returns_watches_nothing(driver: SimulatedDriver, tmp_path: Path) -> None:
    """Until it returns; the samples go on, and the source can be closed."""
    driver.add(Model())
    now_s = [0.0]
    source = NvmlSource(sysfs_pci=tmp_path, clock_s=lambda: now_s[0])
    until(lambda: is_watched(source))
    driver.hang(None, "WAIT")
    until(lambda: driver.state.hanging == 1)
    now_s[0] += 11.0
    assert ([sample.healthy for sample in source.sample()], source.unwatched) == ([True], {A: NO_ANSWER})
    driver.release()
    until(lambda: is_watched(source))
    source.close()


def test_a_source_that_was_closed_listens_again(source: NvmlSource, driver: SimulatedDriver) -> None:
    """When it is used again."""
    until(lambda: is_watched(source))
    source.close()
    assert driver.state.sessions == 0
    until(lambda: is_watched(source))
    driver.raise_xid(79, 0)
    until(lambda: source.xid_counts == {(A, 79): 1})
