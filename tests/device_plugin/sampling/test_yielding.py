"""NVML is closed in the whole plugin while nobody needs the GPUs, and started anew for those that it lost."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.simulated.nvml.driver import GPU_IS_LOST, Model, SimulatedDriver
from bench.simulated.waiting import wait_until as until
from device_plugin.enforcing.abilities import BoundedAbilities, LimitError, NvmlAbilities
from device_plugin.gpus.gpu import CLOSED, GpuSourceClosedError, GpuSourceStalledError
from device_plugin.sampling.bounded import BoundedReader, BoundedSource, driver_calls
from device_plugin.sampling.nvml import NvmlSource, load_pynvml
from device_plugin.sampling.nvml_reading import NvmlReader
from device_plugin.sampling.yielding import STUCK, USED_AGAIN, YieldingSource
from extender.contract.units import GpuUuid

A = GpuUuid("GPU-00000000-0000-4000-8000-000000000000")


class Plugin:
    """All that calls the driver, over two GPUs."""

    def __init__(self, driver: SimulatedDriver, folder: Path) -> None:
        driver.add(Model())
        driver.add(Model())
        self.driver = driver
        self.may_close = False
        self.now_s = 0.0
        self.told: list[str] = []
        self.anew: list[list[int | None]] = []
        self.nvml = NvmlSource(sysfs_pci=folder, clock_s=lambda: self.now_s)
        self.calls = driver_calls(0.5)
        self.reader = BoundedReader(NvmlReader(load_pynvml), self.calls.meter)
        self.abilities = BoundedAbilities(NvmlAbilities(load_pynvml, folder), self.calls.enforcer)
        self.source = YieldingSource(
            BoundedSource(self.nvml, self.calls.sampler),
            self.calls,
            may_close=lambda _: self.may_close,
            has_lost=lambda: self.nvml.has_lost,
            is_stuck=lambda: self.nvml.is_stuck,
            tell=self.told.append,
            on_anew=lambda: self.anew.append([each.used_bytes for each in self.reader.read()]),
            clock_s=lambda: self.now_s,
        )

    def health(self) -> list[bool]:
        """Of each GPU, as of a new sample."""
        return [sample.healthy for sample in self.source.sample()]

    def watch(self) -> None:
        """Wait until XIDs are listened to."""
        until(lambda: self.health() and not self.nvml.unwatched)


@pytest.fixture
def plugin(driver: SimulatedDriver, tmp_path: Path) -> Iterator[Plugin]:
    """In use."""
    found = Plugin(driver, tmp_path)
    found.reader.read()
    found.watch()
    yield found
    driver.release()
    found.source.close()
    found.reader.close()
    found.calls.leave()


def test_all_sessions_are_closed_while_the_gpus_may_be_let_go(plugin: Plugin) -> None:
    """What was seen stays, and nobody opens another one."""
    before = plugin.source.sample()
    assert plugin.driver.state.sessions == 3
    plugin.may_close = True
    assert (plugin.source.sample(), plugin.driver.state.sessions) == (before, 0)
    with pytest.raises(GpuSourceClosedError, match=CLOSED):
        plugin.reader.read()
    with pytest.raises(LimitError, match=CLOSED):
        plugin.abilities.limit_mib(A, "/x")
    assert plugin.source.sample() == before
    assert (plugin.driver.state.sessions, plugin.told, plugin.source.is_closed) == (0, [CLOSED], True)


def test_the_gpus_are_used_again(plugin: Plugin) -> None:
    """When they are needed; XIDs are listened to as before."""
    plugin.may_close = True
    plugin.source.sample()
    plugin.may_close = False
    plugin.driver.gpus[0].used_bytes = 1 << 30
    assert (plugin.anew, plugin.health(), plugin.anew) == ([[1 << 30, 0]], [True, True], [[1 << 30, 0]])
    plugin.watch()
    assert (len(plugin.reader.read()), plugin.anew) == (2, [[1 << 30, 0]])
    assert (plugin.told, plugin.source.is_closed) == ([CLOSED, USED_AGAIN], False)
    plugin.driver.raise_xid(79, 1)
    until(lambda: plugin.health() == [True, False])


def test_nothing_is_let_go_before_it_is_known(driver: SimulatedDriver, tmp_path: Path) -> None:
    """A plugin that starts looks at the GPUs once, to show them."""
    plugin = Plugin(driver, tmp_path)
    plugin.may_close = True
    assert [plugin.health() for _ in range(2)] == [[True, True]] * 2
    assert driver.state.sessions == 0


def test_a_gpu_that_was_reset_is_seen_again(plugin: Plugin) -> None:
    """NVML calls it lost for as long as somebody has it open; after a minute it is started anew for that."""
    plugin.driver.gpus[1].lost = GPU_IS_LOST
    assert [plugin.health() for _ in range(2)] == [[True, False]] * 2
    plugin.driver.reset(1)
    plugin.now_s += 59.0
    assert (plugin.health(), plugin.driver.state.starts) == ([True, False], 1)
    plugin.now_s += 1.0
    assert (plugin.health(), plugin.driver.state.starts) == ([True, True], 2)
    plugin.now_s += 1000.0
    assert (plugin.health(), plugin.driver.state.starts) == ([True, True], 2)
    assert (len(plugin.reader.read()), plugin.told) == (2, [])
    plugin.watch()
    plugin.driver.raise_xid(79, 1)
    until(lambda: plugin.health() == [True, False])


def test_a_gpu_that_came_back_to_the_bus_is_seen_again(plugin: Plugin) -> None:
    """As after a repair."""
    gone = plugin.driver.remove(1)
    assert [plugin.health() for _ in range(2)] == [[True, False]] * 2
    plugin.driver.bring_back(gone, 1)
    assert plugin.health() == [True, False]
    plugin.now_s += 60.0
    assert plugin.health() == [True, True]


def test_it_is_not_started_anew_all_the_time(plugin: Plugin) -> None:
    """For a GPU that stays lost; the others are sampled as ever."""
    plugin.driver.gpus[1].lost = GPU_IS_LOST
    for _ in range(120):
        plugin.now_s += 10.0
        assert plugin.health() == [True, False]
    assert plugin.driver.state.starts == 1 + 4


def test_a_driver_that_hangs_is_not_let_go(plugin: Plugin) -> None:
    """It is when the call returns, and until then the GPUs are sampled as before."""
    plugin.driver.hang(0, "POWER")
    with pytest.raises(GpuSourceStalledError):
        plugin.reader.read()
    plugin.may_close = True
    assert [plugin.health() for _ in range(2)] == [[True, True]] * 2
    assert (plugin.source.is_closed, plugin.told) == (False, [STUCK])
    plugin.driver.release()
    until(lambda: not plugin.calls.problem())
    plugin.source.sample()
    assert (plugin.source.is_closed, plugin.driver.state.sessions) == (True, 0)
    assert plugin.told == [STUCK, CLOSED]


def test_a_cordon_that_is_lifted_while_the_driver_hangs_changes_its_mind(plugin: Plugin) -> None:
    """The other calls are made again."""
    plugin.driver.hang(0, "POWER")
    with pytest.raises(GpuSourceStalledError):
        plugin.reader.read()
    plugin.may_close = True
    assert plugin.health() == [True, True]
    plugin.may_close = False
    assert plugin.health() == [True, True]
    plugin.driver.release()
    until(lambda: not plugin.calls.problem())
    assert (len(plugin.reader.read()), plugin.told) == (2, [STUCK])


def test_a_wait_for_xids_that_hangs_keeps_the_driver(plugin: Plugin) -> None:
    """Nobody is told that a GPU can be reset before the last session is closed."""
    plugin.driver.hang(None, "WAIT")
    until(lambda: plugin.driver.state.hanging == 1)
    plugin.may_close = True
    assert [plugin.health() for _ in range(2)] == [[True, True]] * 2
    assert (plugin.source.is_closed, plugin.told) == (False, [STUCK])
    plugin.driver.release()
    until(lambda: plugin.health() and plugin.source.is_closed)
    assert (plugin.driver.state.sessions, plugin.told) == (0, [STUCK, CLOSED])


def test_xids_are_watched_again_when_a_wait_returns_that_hung_while_the_driver_was_let_go(plugin: Plugin) -> None:
    """By the thread that was told to end meanwhile, or another one, but with a new registration."""
    plugin.driver.hang(None, "WAIT")
    until(lambda: plugin.driver.state.hanging == 1)
    plugin.may_close = True
    plugin.source.sample()
    plugin.may_close = False
    assert plugin.health() == [True, True]
    plugin.driver.release()
    plugin.watch()
    plugin.driver.raise_xid(79, 0)
    until(lambda: plugin.health() == [False, True])


def test_a_lost_gpu_costs_the_others_nothing_while_a_call_hangs(plugin: Plugin) -> None:
    """NVML is not started anew before the call has returned."""
    plugin.driver.hang(0, "POWER")
    with pytest.raises(GpuSourceStalledError):
        plugin.reader.read()
    plugin.driver.gpus[0].lost = GPU_IS_LOST
    for _ in range(20):
        plugin.now_s += 4.0
        assert plugin.health() == [False, True]
    assert plugin.driver.state.starts == 1
    plugin.driver.reset(0)
    plugin.driver.release()
    until(lambda: not plugin.calls.problem())
    assert not plugin.calls.problem()
    plugin.health()
    plugin.now_s += 60.0
    until(lambda: plugin.health() == [True, True])
