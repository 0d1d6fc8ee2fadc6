"""Lets several inference servers share the GPU, time-sliced, under MPS, and under MPS with a part of the GPU each.

What sharing brings is throughput, and what it costs is latency and the memory that each server needs besides its model.
"""

import importlib.util
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from bench.gpu_day.children import Child, ChildError
from bench.gpu_day.daemon import NO_MPS, OwnDaemon
from bench.gpu_day.day import Day, SkipError
from bench.gpu_day.stages.clients import check_cuda, listed_mib, used_mib
from bench.gpu_day.stages.loads import Served, ServerLoad, all_loads, alone_rate, percent_loads, run_load
from bench.gpu_day.workloads.serving import STEPS

TIME_SLICED, MPS, MPS_PERCENT = "time-sliced", "mps", "mps with a percentage"

_MODULE = "bench.gpu_day.workloads.server"
_START_S = 120.0
_MARGIN_S = 3.0
_TIME_SLICED_SHARE, _MPS_SHARE = 0.48, 0.8
"""Of the time that is left when a mode begins."""

_FEW = 4


@dataclass(frozen=True, slots=True)
class StepCost:
    """What the first server of a mode needs of the GPU after one of its steps, all before included.

    `gpu_mib` is by how much the GPU's memory in use rose, `listed_mib` what the driver lists for the process.
    """

    mode: str
    step: str
    seconds: float
    gpu_mib: float | None
    listed_mib: float | None


@dataclass(frozen=True, slots=True)
class Colocated:
    """What was measured so far.

    Args:
        backend: what the servers run: torch, kernels (no torch here; sweeps of memory instead of a model) or stand-in.
        run_s: how long each run lasted.
        costs: memory by step.
        runs: every run.
        left_out: why a mode was not measured, or not fully.
        core_percent: the part of the GPU that each server got in the mode MPS_PERCENT.
        mps_server_mib: what the driver lists for the MPS server while all servers run, and after they ended.
    """

    backend: str
    run_s: float
    costs: tuple[StepCost, ...] = ()
    runs: tuple[Served, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    core_percent: int | None = None
    mps_server_mib: tuple[float | None, float | None] = (None, None)


def backend_of(day: Day) -> str:
    """What the servers can run here."""
    if day.plan.dry_run:
        return "stand-in"
    return "kernels" if importlib.util.find_spec("torch") is None else "torch"


def colocate(day: Day) -> Generator[Colocated, None, None]:
    """Throughput and latency of servers that share the GPU.

    Raises:
        SkipError: no CUDA program works here.
    """
    check_cuda(day, NO_MPS)
    found = Colocated(backend_of(day), day.plan.run_s)
    loads = all_loads(day.plan.counts)
    first = replace(day, timer=day.timer.part(_TIME_SLICED_SHARE))
    for now in _measured(first, found, TIME_SLICED, NO_MPS, loads):
        found = now
        yield found
    try:
        with OwnDaemon(stand_in=day.plan.dry_run) as daemon:
            yield from _under_mps(day, found, daemon, loads)
    except SkipError as error:
        yield _without(_without(found, MPS, str(error)), MPS_PERCENT, str(error))


def _under_mps(
    day: Day, found: Colocated, daemon: OwnDaemon, loads: Sequence[ServerLoad]
) -> Generator[Colocated, None, None]:
    first = replace(day, timer=day.timer.part(_MPS_SHARE))
    busy_mib: float | None = None
    for now in _measured(first, found, MPS, daemon.environment, loads):
        busy_mib = busy_mib or _server_mib(day, daemon)
        found = now
        yield found
    few = min(_FEW, day.plan.counts[-1])
    found = replace(found, core_percent=100 // few, mps_server_mib=(busy_mib, _server_mib(day, daemon)))
    environment = {**daemon.environment, "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": str(found.core_percent)}
    yield from _measured(day, found, MPS_PERCENT, environment, percent_loads(few))


def _measured(
    day: Day, found: Colocated, mode: str, environment: Mapping[str, str], loads: Sequence[ServerLoad]
) -> Generator[Colocated, None, None]:
    """Start as many servers as the loads need, and run one load after the other."""
    count = max(load.servers + load.has_neighbour for load in loads)
    with ExitStack() as stack:
        try:
            servers, costs = _started(day, stack, count, mode, environment)
        except ChildError as error:
            yield _without(found, mode, f"the servers did not start: {error}")
            return
        found = replace(found, costs=(*found.costs, *costs))
        yield found
        for load in loads:
            if day.timer.left_s < day.plan.run_s + _MARGIN_S:
                yield _without(found, mode, "out of time")
                return
            alone = alone_rate(found.runs)
            if load.is_steady and alone is None:
                continue
            run = run_load(mode, load, servers, day.plan.run_s, alone)
            found = replace(found, runs=(*found.runs, run))
            yield found
            if run.error:  # replies that are still to come would be taken for those of the next load
                yield _without(found, mode, run.error)
                return


def _started(
    day: Day, stack: ExitStack, count: int, mode: str, environment: Mapping[str, str]
) -> tuple[list[Child], list[StepCost]]:
    """Servers that are ready; the first loads step by step, so that what each step takes is seen."""
    before_mib = used_mib(day)
    settings = {"backend": backend_of(day)}
    variables = {**day.gpu.environment(), **environment}
    servers = [stack.enter_context(Child(_MODULE, settings, variables)) for _ in range(count)]
    for server in servers:
        stack.callback(server.let_go)
    for server in servers:
        server.take(day.timer.at_most(_START_S))
    costs = []
    for step in STEPS:
        reply = servers[0].ask(day.timer.at_most(_START_S), "step", name=step)
        now_mib = used_mib(day)
        gpu_mib = None if now_mib is None or before_mib is None else now_mib - before_mib
        costs.append(StepCost(mode, step, reply["seconds"], gpu_mib, listed_mib(day, servers[0].pid)))
    for server in servers[1:]:
        for step in STEPS:
            server.send("step", name=step)
    for server in servers[1:]:
        for _ in STEPS:
            server.take(day.timer.at_most(_START_S))
    return servers, costs


def _server_mib(day: Day, daemon: OwnDaemon) -> float | None:
    state = daemon.state()
    return listed_mib(day, state.servers[0]) if state is not None and state.servers else None


def _without(found: Colocated, mode: str, why: str) -> Colocated:
    return replace(found, left_out={**found.left_out, mode: why})
