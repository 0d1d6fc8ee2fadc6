"""The stages as on a real GPU, on a stand-in for libcuda.so.1 and one for the MPS daemon: the same calls are made."""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.gpu_day.day import Day, DayPlan, SkipError, Timer
from bench.gpu_day.stages.colocate import MPS, MPS_PERCENT, TIME_SLICED, colocate
from bench.gpu_day.stages.fault import ILL_WRITE, KILL, FaultTrial, crash_beside, fault
from bench.gpu_day.stages.limits import TRIALS, MpsLimits, limits
from bench.gpu_day.stages.loads import all_loads, percent_loads
from bench.gpu_day.stages.watched import watched
from device_plugin.gpus.readings import GpuReading
from tests.bench.gpu_day.gpus import UUID, FakeDayGpu
from tests.fakes.cuda import build_cuda
from tests.fakes.mps_daemon import install_mps

MIB = 1024 * 1024
PLAN = DayPlan(run_s=0.1, counts=(1, 2))

MakeDay = Callable[..., Day]


@pytest.fixture(scope="module")
def cuda(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the stand-in for libcuda.so.1."""
    return build_cuda(tmp_path_factory.mktemp("cuda"))


@pytest.fixture
def day(cuda: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeDay:
    """A day on a GPU with CUDA and MPS; what is missing can be said."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))

    def make(plan: DayPlan = PLAN, *, left_s: float = 60.0, mps: str = "works") -> Day:
        if mps != "missing":
            folder = install_mps(tmp_path / "bin", refuses=mps == "refuses")
            monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        environment = {"CUDA_VISIBLE_DEVICES": UUID, "LD_LIBRARY_PATH": str(cuda)}
        reading = GpuReading(UUID, used_bytes=0, processes=())
        return Day(plan, FakeDayGpu(reading, environment), Timer(time.monotonic() + left_s))

    return make


def last_of(found: MpsLimits) -> dict[str, tuple[int, ...]]:
    """What each trial took."""
    return {trial.name: trial.taken_mib for trial in found.trials if not trial.error}


def test_limits_are_exceeded_in_every_way(day: MakeDay) -> None:
    """The stand-in keeps to limits by UUID; without the daemon there is none."""
    *_, found = limits(day())
    taken = last_of(found)
    assert (taken["malloc"], taken["async"], taken["vmm"]) == ((2048,), (2048,), (2048,))
    assert (taken["no-limit"], taken["beside-the-daemon"], taken["two-processes"]) == ((4096,), (4096,), (1024, 1024))
    first = found.trials[0]
    assert (first.codes, first.total_mib, first.are_clients, first.holds) == ((2,), (2048.0,), (True,), True)
    assert first.listed_mib == (None,)
    assert found.daemon_log == ("Starting control daemon",)
    assert len(found.trials) == len(TRIALS)


def test_limits_run_out_of_time_one_by_one(day: MakeDay) -> None:
    """What was tried is kept, and the rest says that it was not."""
    *_, found = limits(day(left_s=8.3))
    errors = [trial.error for trial in found.trials]
    assert errors[-1] == "out of time"
    assert len(errors) == len(TRIALS)


@pytest.mark.parametrize(
    ("mps", "why"),
    [("missing", "no nvidia-cuda-mps-control on this machine"), ("refuses", "ended with status 1")],
)
def test_a_machine_without_mps_skips_the_limits(day: MakeDay, tmp_path: Path, mps: str, why: str) -> None:
    """And says what is missing; no folder is left."""
    with pytest.raises(SkipError, match=why):
        list(limits(day(mps=mps)))
    assert list((tmp_path / "temporary").iterdir()) == []


def test_processes_that_the_driver_does_not_list_are_not_known(day: MakeDay) -> None:
    """As in a sandbox: nothing is claimed of them."""
    (found,) = watched(day())
    assert [process.taken_mib for process in found.processes] == [1500, 2500]
    assert {process.measured_mib for process in found.processes} == {None}
    assert found.pids_match is False


def test_servers_of_kernels_share_the_gpu_in_every_mode(day: MakeDay) -> None:
    """Where there is no torch; every load is run and none fails."""
    *_, found = colocate(day())
    if found.backend != "kernels":
        pytest.skip("torch is installed here, and the stand-in for CUDA cannot run it")
    assert dict(found.left_out) == {}
    expected = {TIME_SLICED: all_loads((1, 2)), MPS: all_loads((1, 2)), MPS_PERCENT: percent_loads(2)}
    assert {mode: tuple(run.load for run in found.runs if run.mode == mode) for mode in expected} == expected
    assert [run for run in found.runs if run.error or not run.requests] == []
    assert (found.core_percent, {cost.mode for cost in found.costs}) == (50, set(expected))


def test_without_mps_time_slicing_is_still_measured(day: MakeDay) -> None:
    """And the result says why the rest is missing."""
    *_, found = colocate(day(mps="missing"))
    if found.backend != "kernels":
        pytest.skip("torch is installed here, and the stand-in for CUDA cannot run it")
    assert {run.mode for run in found.runs} == {TIME_SLICED}
    assert set(found.left_out) == {MPS, MPS_PERCENT}


@pytest.mark.parametrize("kind", [ILL_WRITE, KILL])
def test_a_crash_beside_a_neighbour_that_is_not_hurt(day: MakeDay, kind: str) -> None:
    """The stand-in's processes have nothing in common."""
    found = crash_beside(day(), TIME_SLICED, kind, {})
    assert found == FaultTrial(TIME_SLICED, kind, victim_before=0, victim_after=0)


def test_nothing_crashes_unless_it_was_asked_for(day: MakeDay) -> None:
    """Others may be on the card."""
    with pytest.raises(SkipError, match="not asked for"):
        list(fault(day()))
