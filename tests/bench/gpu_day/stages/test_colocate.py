"""A run that fails ends its mode, since late replies would be taken for others; the other modes still run."""

import time
from collections.abc import Sequence

import pytest

from bench.gpu_day.children import Child
from bench.gpu_day.day import Day, DayPlan, Timer
from bench.gpu_day.gpu import stand_in_gpu
from bench.gpu_day.stages import colocate as module
from bench.gpu_day.stages.colocate import MPS, MPS_PERCENT, TIME_SLICED, Colocated
from bench.gpu_day.stages.loads import Served, ServerLoad
from tests.device_plugin.drivers import library

PLAN = DayPlan(dry_run=True, run_s=0.05, counts=(1,))


def colocated(plan: DayPlan, left_s: float) -> Colocated:
    """What is found at the end, on stand-ins."""
    library()
    with stand_in_gpu() as gpu:
        *_, found = module.colocate(Day(plan, gpu, Timer(time.monotonic() + left_s)))
    return found


def test_a_run_that_fails_ends_its_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """And says why."""

    def fails(mode: str, load: ServerLoad, _servers: Sequence[Child], _seconds: float, _alone: float | None) -> Served:
        return Served(mode, load, error="no answer")

    monkeypatch.setattr(module, "run_load", fails)
    found = colocated(PLAN, 60.0)
    assert [(run.mode, run.load) for run in found.runs] == [
        (mode, ServerLoad(1, "launch")) for mode in (TIME_SLICED, MPS, MPS_PERCENT)
    ]
    assert found.left_out == dict.fromkeys((TIME_SLICED, MPS, MPS_PERCENT), "no answer")


def test_what_does_not_fit_the_time_is_left_out() -> None:
    """No run is begun that would not end; memory is still seen."""
    found = colocated(DayPlan(dry_run=True, run_s=1000.0, counts=(1,)), 60.0)
    assert found.left_out == dict.fromkeys((TIME_SLICED, MPS, MPS_PERCENT), "out of time")
    assert (found.runs, {cost.mode for cost in found.costs}) == ((), set(found.left_out))


def test_memory_is_seen_step_by_step() -> None:
    """Of the first server of each mode, all before included."""
    found = colocated(PLAN, 60.0)
    for mode in (TIME_SLICED, MPS, MPS_PERCENT):
        costs = {cost.step: cost.gpu_mib for cost in found.costs if cost.mode == mode}
        assert costs == {"context": 300.0, "library": 320.0, "blas": 340.0, "model": 1400.0, "warm": 1500.0}
