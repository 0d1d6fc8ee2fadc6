"""Limits on cgroups are claimed only after one was set and read back; every failure is a text."""

from pathlib import Path

import pytest

from bench.simulated.nvml.driver import NO_PERMISSION, Model, SimulatedDriver
from bench.simulated.waiting import wait_until as until
from device_plugin.enforcing.abilities import BoundedAbilities, LimitError, NvmlAbilities
from device_plugin.gpus.gpu import NO_ANSWER
from device_plugin.sampling.bounded import BoundedCalls
from device_plugin.sampling.nvml import load_pynvml
from extender.contract.units import GpuUuid
from tests.device_plugin.drivers import simulated
from tests.fakes.limits import MIB, FakeLimitNvml

A = GpuUuid("GPU-a")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A cgroup v2 mount."""
    (tmp_path / "cgroup.controllers").write_text("cpu memory dmem")
    return tmp_path


def test_a_limit_that_was_set_and_read_back_is_no_obstacle(root: Path) -> None:
    """On a cgroup of our own, which is gone afterwards; NVML is given back."""
    nvml = FakeLimitNvml()
    assert NvmlAbilities(lambda: nvml, root).limit_obstacle(A) == ""
    assert nvml.limits == {(A, str(root / "gpupack-probe").encode()): (64 * MIB, 64 * MIB)}
    assert ((root / "gpupack-probe").exists(), nvml.users) == (False, 0)


@pytest.mark.parametrize(
    ("fails", "words"),
    [
        ({"set": 13}, "the driver has no memory limits (r615 and newer have)"),
        ({"set": 4}, "NVML: NVML error 4"),
        ({"get": 3}, "NVML: NVML error 3"),
        ({"handle": 6}, "NVML: NVML error 6"),
        ({"init": 9, "mig": 9}, "NVML: NVML error 9"),
    ],
)
def test_every_failure_says_why(root: Path, fails: dict[str, int], words: str) -> None:
    """And leaves no cgroup behind."""
    nvml = FakeLimitNvml()
    nvml.fails = fails
    assert NvmlAbilities(lambda: nvml, root).limit_obstacle(A) == words
    assert not (root / "gpupack-probe").exists()


def test_a_limit_that_is_not_read_back_is_not_claimed(root: Path) -> None:
    """A driver that says yes and does nothing."""
    nvml = FakeLimitNvml()
    nvml.forgets = True
    assert "64 MiB was set and none was read back" in NvmlAbilities(lambda: nvml, root).limit_obstacle(A)


def test_mig_and_cgroup_v1_are_obstacles(root: Path) -> None:
    """Neither is tried at all."""
    nvml = FakeLimitNvml()
    nvml.mig = 1
    assert NvmlAbilities(lambda: nvml, root).limit_obstacle(A) == "MIG is enabled"
    (root / "cgroup.controllers").unlink()
    assert NvmlAbilities(lambda: nvml, root).limit_obstacle(A) == f"no cgroup v2 at {root}"
    assert nvml.limits == {}


def test_a_mig_device_has_no_limits(root: Path, driver: SimulatedDriver) -> None:
    """It is not even tried."""
    driver.add(Model())
    driver.state.driver_version = b"615.10"
    (part,) = driver.slice(0, ["1g.5gb"])
    assert NvmlAbilities(load_pynvml, root).limit_obstacle(GpuUuid(part.uuid.decode())) == "MIG is enabled"


def test_a_root_that_cannot_be_written_is_an_obstacle(root: Path) -> None:
    """As in a container without the mount."""
    (root / "gpupack-probe").write_text("in the way")
    assert "gpupack-probe cannot be made" in NvmlAbilities(FakeLimitNvml, root).limit_obstacle(A)


def test_limits_are_of_a_cgroup_path_below_the_root(root: Path) -> None:
    """As /proc/PID/cgroup names it."""
    nvml = FakeLimitNvml()
    abilities = NvmlAbilities(lambda: nvml, root)
    assert abilities.limit_mib(A, "/kubepods/x") is None
    abilities.set_limit_mib(A, "/kubepods/x", 6144)
    assert abilities.limit_mib(A, "/kubepods/x") == 6144
    assert list(nvml.limits) == [(A, str(root / "kubepods/x").encode())]
    nvml.fails = {"get": 15}
    with pytest.raises(LimitError, match="NVML error 15"):
        abilities.limit_mib(A, "/kubepods/x")


def test_compute_capability_is_none_when_unknown(root: Path) -> None:
    """Never 0.0."""
    nvml = FakeLimitNvml()
    abilities = NvmlAbilities(lambda: nvml, root)
    assert abilities.compute_capability(A) == (8, 0)
    nvml.fails = {"capability": 3}
    assert abilities.compute_capability(A) is None


def test_the_real_binding_sets_and_reads_limits(root: Path, driver: SimulatedDriver) -> None:
    """With a driver that has them, and says that it has not when it is older."""
    uuid = GpuUuid(driver.add(Model()).uuid.decode())
    abilities = NvmlAbilities(load_pynvml, root)
    assert abilities.limit_obstacle(uuid) == "the driver has no memory limits (r615 and newer have)"
    driver.state.driver_version = b"615.12.03"
    assert abilities.limit_obstacle(uuid) == ""
    assert abilities.limit_mib(uuid, "/kubepods/x") is None
    abilities.set_limit_mib(uuid, "/kubepods/x", 6144)
    assert abilities.limit_mib(uuid, "/kubepods/x") == 6144
    assert abilities.compute_capability(uuid) == (8, 6)
    driver.fail(0, "LIMITS", NO_PERMISSION)
    assert abilities.limit_obstacle(uuid).startswith("NVML: ")
    assert "NVML: " in abilities.limit_obstacle(GpuUuid("GPU-other"))


def test_a_driver_library_without_the_functions_has_no_limits(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The binding finds no such symbol."""
    with simulated(tmp_path / "old", monkeypatch, old_driver=True) as old:
        uuid = GpuUuid(old.add(Model()).uuid.decode())
        found = NvmlAbilities(load_pynvml, root).limit_obstacle(uuid)
    assert found == "the driver has no memory limits (r615 and newer have)"


@pytest.mark.parametrize("call", ["nvmlDeviceSetMemoryLimits_v1", "nvmlDeviceGetMemoryLimits_v1"])
def test_a_binding_without_the_calls_has_no_limits(
    root: Path, driver: SimulatedDriver, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """As an older nvidia-ml-py; reading, setting and probing say so, and the tests on real GPUs are skipped."""
    uuid = GpuUuid(driver.add(Model()).uuid.decode())
    driver.state.driver_version = b"615.12.03"
    monkeypatch.delattr(load_pynvml(), call)
    abilities = NvmlAbilities(load_pynvml, root)
    assert abilities.limit_obstacle(uuid) == "this nvidia-ml-py knows no memory limits (13.615 does)"
    with pytest.raises(LimitError, match="knows no memory limits"):
        abilities.limit_mib(uuid, "/kubepods/x")
    with pytest.raises(LimitError, match="knows no memory limits"):
        abilities.set_limit_mib(uuid, "/kubepods/x", 6144)


def test_a_driver_that_hangs_has_no_limits(root: Path) -> None:
    """It is asked once; whoever asks meanwhile is told so at once."""
    nvml = FakeLimitNvml()
    nvml.is_free.clear()
    calls = BoundedCalls("enforcer", 0.1)
    abilities = BoundedAbilities(NvmlAbilities(lambda: nvml, root), calls)
    assert [abilities.limit_obstacle(A), abilities.compute_capability(A)] == [NO_ANSWER, None]
    with pytest.raises(LimitError, match=NO_ANSWER):
        abilities.limit_mib(A, "/x")
    with pytest.raises(LimitError, match=NO_ANSWER):
        abilities.set_limit_mib(A, "/x", 1)
    nvml.is_free.set()
    until(lambda: not calls.stalled_s())
    assert (abilities.limit_obstacle(A), abilities.compute_capability(A)) == ("", (8, 0))
    abilities.set_limit_mib(A, "/x", 6144)
    assert abilities.limit_mib(A, "/x") == 6144
    calls.leave()
