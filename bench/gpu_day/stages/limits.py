"""Exceeds MPS's memory limit per client in every way that programs take memory, and tries the known ways around it."""

import os
from collections.abc import Generator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

from bench.gpu_day.children import Child, ChildError, Reply
from bench.gpu_day.daemon import NO_MPS, OwnDaemon
from bench.gpu_day.day import Day
from bench.gpu_day.stages.clients import check_cuda, client, listed_mib
from bench.gpu_day.workloads.stand_ins import LIMIT

_INVISIBLE = "GPU-ffffffff-ffff-4fff-8fff-ffffffffffff"
_STEP_MIB = 64
_ANSWER_S = 40.0
_LEAST_S = 8.0


@dataclass(frozen=True, slots=True)
class Trial:
    """One attempt: what processes are told, and what they try.

    Args:
        name: as the result has it.
        limit: the limit that they get, with `{gpu}` for the UUID; empty for none.
        limit_mib: what each process may take by that limit; None where there is none, or its effect is the question.
        ask_mib: what each tries to take.
        how: the call that takes it: malloc, async or vmm.
        processes: how many try at the same time.
        beside_daemon: without the daemon's pipe directory, as a container that leaves the variable out.
        as_nobody: as another user than the daemon's first client.
    """

    name: str
    limit: str = ""
    limit_mib: int | None = None
    ask_mib: int = 4096
    how: str = "malloc"
    processes: int = 1
    beside_daemon: bool = False
    as_nobody: bool = False


TRIALS = (
    Trial("malloc", "{gpu}=2048M", 2048),
    Trial("async", "{gpu}=2048M", 2048, how="async"),
    Trial("vmm", "{gpu}=2048M", 2048, how="vmm"),
    Trial("no-limit"),
    Trial("by-index", "0=2048M", 2048),
    Trial("invisible-gpu-named", f"{_INVISIBLE}=1024M,{{gpu}}=1024M"),
    Trial("two-processes", "{gpu}=1024M", 1024, ask_mib=2048, processes=2),
    Trial("beside-the-daemon", "{gpu}=2048M", beside_daemon=True),
    Trial("another-user", "{gpu}=1024M", 1024, ask_mib=2048, as_nobody=True),
)
"""In the order of their worth: when time runs out, the last ones are not tried."""


@dataclass(frozen=True, slots=True)
class TrialResult:
    """What came of one attempt, per process.

    Args:
        name: the trial's.
        limit_mib: the limit that should hold; None where there is none, or its effect was the question.
        asked_mib: what each process tried to take.
        taken_mib: what each got.
        codes: CUDA's code at the end, 0 or the refusal's (2 is out of memory).
        total_mib: the GPU's size as each process was told, which is how CUDA shows the limit.
        listed_mib: what the driver lists for each at the end; None where it does not say.
        are_clients: whether the daemon lists each as a client; None where it does not say.
        connect_s: how long each took for its context.
        error: why there is no result; empty when there is one.
    """

    name: str
    limit_mib: int | None
    asked_mib: int
    taken_mib: tuple[int, ...] = ()
    codes: tuple[int, ...] = ()
    total_mib: tuple[float, ...] = ()
    listed_mib: tuple[float | None, ...] = ()
    are_clients: tuple[bool | None, ...] = ()
    connect_s: tuple[float, ...] = ()
    error: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether each process was refused beyond its limit, and had got something; None where that was not seen."""
        if self.error or self.limit_mib is None or not self.taken_mib:
            return None
        return all(0 < taken <= self.limit_mib for taken in self.taken_mib)


@dataclass(frozen=True, slots=True)
class MpsLimits:
    """All attempts so far; `daemon_start_s` is how long the daemon took to answer."""

    daemon_start_s: float
    trials: tuple[TrialResult, ...] = ()
    daemon_log: tuple[str, ...] = ()


def limits(day: Day) -> Generator[MpsLimits, None, None]:
    """Does MPS hold a client to its limit, and what gets around it?

    Raises:
        SkipError: there is no CUDA or no MPS here.
    """
    check_cuda(day, NO_MPS)
    with OwnDaemon(stand_in=day.plan.dry_run) as daemon:
        found = MpsLimits(daemon.start_s)
        for trial in TRIALS:
            found = replace(found, trials=(*found.trials, _tried(day, daemon, trial)), daemon_log=daemon.log())
            yield found


def _tried(day: Day, daemon: OwnDaemon, trial: Trial) -> TrialResult:
    nothing = TrialResult(trial.name, trial.limit_mib, trial.ask_mib)
    if day.timer.left_s < _LEAST_S:
        return replace(nothing, error="out of time")
    if trial.as_nobody and (day.plan.dry_run or os.getuid() != 0):
        return replace(nothing, error="only root can start a process of another user, on a real daemon")
    environment = NO_MPS if trial.beside_daemon else daemon.environment
    if trial.limit:
        environment = {**environment, LIMIT: trial.limit.format(gpu=day.gpu.uuid)}
    try:
        with ExitStack() as stack:
            started = [
                stack.enter_context(client(day, environment, as_nobody=trial.as_nobody)) for _ in range(trial.processes)
            ]
            return _grown(day, daemon, nothing, trial.how, started)
    except ChildError as error:
        return replace(nothing, error=str(error))


def _grown(
    day: Day, daemon: OwnDaemon, nothing: TrialResult, how: str, started: list[tuple[Child, Reply]]
) -> TrialResult:
    wanted: Mapping[str, object] = {"mib": nothing.asked_mib, "step_mib": _STEP_MIB, "how": how}
    answers = [child.ask(day.timer.at_most(_ANSWER_S), "grow", **wanted) for child, _ in started]
    state = daemon.state()
    return replace(
        nothing,
        taken_mib=tuple(int(answer["got_mib"]) for answer in answers),
        codes=tuple(int(answer["code"]) for answer in answers),
        total_mib=tuple(float(hello["total_mib"]) for _, hello in started),
        listed_mib=tuple(listed_mib(day, child.pid) for child, _ in started),
        are_clients=tuple(None if state is None else child.pid in state.clients for child, _ in started),
        connect_s=tuple(float(hello["connect_s"]) for _, hello in started),
    )
