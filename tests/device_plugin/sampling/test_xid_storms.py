"""XIDs in any number neither end the sampling nor drive it, and concern only the GPUs that were there."""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.simulated.nvml.driver import Model, SimulatedDriver
from bench.simulated.waiting import wait_until as until
from device_plugin.gpus.gpu import GpuSample
from device_plugin.gpus.xids import QUIET_S
from device_plugin.sampling.nvml import NvmlSource


class Asked:
    """Counts how often a sample was asked for; also the time, which the test moves."""

    def __init__(self) -> None:
        self.times = 0
        self.now_s = 1000.0

    def __call__(self) -> None:
        self.times += 1


@pytest.fixture
def asked() -> Asked:
    """How often a sample was asked for."""
    return Asked()


@pytest.fixture
def source(driver: SimulatedDriver, asked: Asked, tmp_path: Path) -> Iterator[NvmlSource]:
    """Over two GPUs; sampled once, and listening."""
    for _ in range(2):
        driver.add(Model())
    found = NvmlSource(sysfs_pci=tmp_path, on_xid=asked, clock_s=lambda: asked.now_s)
    found.sample()
    until(lambda: driver.state.registrations == 2)
    yield found
    found.close()


def health(samples: tuple[GpuSample, ...]) -> list[str]:
    """The reason of each GPU; `ok` for those that are offered."""
    return ["ok" if sample.healthy else sample.reason for sample in samples]


def test_a_storm_of_xids_everywhere_does_not_end_the_sampling(source: NvmlSource, driver: SimulatedDriver) -> None:
    """They are noted in a thread of their own, while samples look at them and scrapes count them."""
    interval_s = sys.getswitchinterval()
    done = threading.Event()

    def storm() -> None:
        for number in range(6000):
            while True:
                try:
                    driver.raise_xid(48 + number % 12, number % 2, gi=number % 97, ci=number % 89)
                    break
                except BlockingIOError:
                    done.wait(0.001)
        done.set()

    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=storm)
    thread.start()
    try:
        while not done.is_set():
            source.sample()
            assert sum(source.critical_xids.values()) <= sum(source.xid_counts.values())
    finally:
        thread.join()
        sys.setswitchinterval(interval_s)
    until(lambda: sum(source.xid_counts.values()) == 6000)


def test_an_xid_that_repeats_asks_for_one_sample(source: NvmlSource, driver: SimulatedDriver, asked: Asked) -> None:
    """The GPU is out already; after it has been quiet, it is news again, and so is another GPU's."""
    for number in range(200):
        driver.raise_xid((79, 48)[number % 2], 0)
    until(lambda: sum(source.critical_xids.values()) == 200)
    found = [asked.times]
    driver.raise_xid(79, 1)
    until(lambda: sum(source.critical_xids.values()) == 201)
    found.append(asked.times)
    asked.now_s += QUIET_S
    driver.raise_xid(79, 0)
    until(lambda: sum(source.critical_xids.values()) == 202)
    assert [*found, asked.times] == [1, 2, 3]


def test_a_gpu_that_comes_after_an_xid_of_no_known_gpu_is_offered(
    source: NvmlSource, driver: SimulatedDriver, asked: Asked
) -> None:
    """It cannot have been its; one that was away meanwhile still counts as there."""
    driver.gpus[1].lost = 15
    asked.now_s += 1.0
    source.sample()
    driver.raise_xid(79)
    until(lambda: asked.times == 1)
    asked.now_s += 1.0
    source.sample()
    driver.gpus[1].lost = 0
    driver.add(Model("NVIDIA L4"))
    asked.now_s += 1.0
    assert health(source.sample()) == ["XID 79", "XID 79", "ok"]


def test_a_gpu_that_may_have_been_there_counts_as_there(
    source: NvmlSource, driver: SimulatedDriver, asked: Asked
) -> None:
    """It came between the last look and the XID."""
    driver.add(Model("NVIDIA L4"))
    asked.now_s += 1.0
    driver.raise_xid(79)
    until(lambda: asked.times == 1)
    assert health(source.sample()) == ["XID 79", "XID 79", "XID 79"]
