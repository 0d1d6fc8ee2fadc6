"""Lets a process crash on the GPU, or be killed in a kernel: whom it hurts, and whether the plugin hears of it.

Only when asked for: everybody else on that GPU may lose their work.
"""

import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

from bench.gpu_day.children import Child, ChildError
from bench.gpu_day.daemon import NO_MPS, OwnDaemon
from bench.gpu_day.day import Day, SkipError
from bench.gpu_day.stages.clients import check_cuda, client
from device_plugin.gpus.gpu import GpuSourceError
from device_plugin.sampling.nvml import NvmlSource

ILL_WRITE, KILL = "a write to a wrong address", "a kill while its kernel runs"
_SPIN_CYCLES = 6_000_000_000
_SETTLE_S = 1.0
_ASK_S = 30.0


@dataclass(frozen=True, slots=True)
class FaultTrial:
    """One crash beside a process that does nothing wrong.

    Args:
        mode: time-sliced or mps.
        fault: what the culprit did.
        victim_before: CUDA's code for a small piece of the victim's work before it; 0 is well.
        victim_after: the same after it; None where the victim no longer answered.
        newcomer: why a process that came afterwards got no context; empty when it got one.
        error: why there is no result; empty when there is one.
    """

    mode: str
    fault: str
    victim_before: int | None = None
    victim_after: int | None = None
    newcomer: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Faults:
    """All trials so far, and what the plugin saw: how often each XID came, and why it would not offer the GPU."""

    trials: tuple[FaultTrial, ...] = ()
    xids: Mapping[str, int] | None = None
    problem: str | None = None


def fault(day: Day) -> Generator[Faults, None, None]:
    """Whom does a crash hurt?

    Raises:
        SkipError: it was not asked for, or no CUDA program works here.
    """
    if not day.plan.with_fault:
        raise SkipError("not asked for (--with-fault)")
    check_cuda(day, NO_MPS)
    source = NvmlSource()
    try:
        source.sample()
        found = Faults()
        for kind in (ILL_WRITE, KILL):
            found = replace(found, trials=(*found.trials, crash_beside(day, "time-sliced", kind, NO_MPS)))
            yield found
        for kind in (ILL_WRITE, KILL):
            found = replace(found, trials=(*found.trials, _tried_under_mps(day, kind)))
            yield found
        time.sleep(_SETTLE_S)
        yield _seen(day, source, found)
    except GpuSourceError as error:
        raise SkipError(str(error)) from error
    finally:
        source.close()


def _seen(day: Day, source: NvmlSource, found: Faults) -> Faults:
    problems = [sample.reason for sample in source.sample() if sample.uuid == day.gpu.uuid]
    xids = {str(xid): count for (uuid, xid), count in source.xid_counts.items() if uuid in {None, day.gpu.uuid}}
    return replace(found, xids=xids, problem=problems[0] if problems else "it is gone")


def _tried_under_mps(day: Day, kind: str) -> FaultTrial:
    """With a daemon of its own: a crash may take the server along."""
    try:
        with OwnDaemon(stand_in=day.plan.dry_run) as daemon:
            return crash_beside(day, "mps", kind, daemon.environment)
    except SkipError as error:
        return FaultTrial("mps", kind, error=str(error))


def crash_beside(day: Day, mode: str, kind: str, environment: Mapping[str, str]) -> FaultTrial:
    """Let one process crash beside another, both with these variables."""
    found = FaultTrial(mode, kind)
    try:
        with ExitStack() as stack:
            victim, _ = stack.enter_context(client(day, environment))
            culprit, _ = stack.enter_context(client(day, environment))
            victim.ask(day.timer.at_most(_ASK_S), "grow", mib=64, step_mib=64, how="malloc")
            found = replace(found, victim_before=_touch(day, victim))
            if kind == ILL_WRITE:
                culprit.ask(day.timer.at_most(_ASK_S), "launch", kernel="bad")
            else:
                culprit.ask(day.timer.at_most(_ASK_S), "launch", kernel="spin", cycles=_SPIN_CYCLES, wait=False)
                culprit.kill()
            time.sleep(_SETTLE_S)
            found = replace(found, victim_after=_touch(day, victim), newcomer=_newcomer(day, environment))
    except ChildError as error:
        return replace(found, error=str(error))
    return found


def _touch(day: Day, child: Child) -> int | None:
    try:
        return int(child.ask(day.timer.at_most(_ASK_S), "touch")["code"])
    except ChildError:
        return None


def _newcomer(day: Day, environment: Mapping[str, str]) -> str:
    try:
        with client(day, environment):
            return ""
    except ChildError as error:
        return str(error)
