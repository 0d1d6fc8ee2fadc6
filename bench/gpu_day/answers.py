"""Says in words what the findings answer, each question with what was not measured left open."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bench.gpu_day.findings import Findings
from bench.gpu_day.stages.colocate import MPS, TIME_SLICED, Colocated
from bench.gpu_day.stages.fault import ILL_WRITE, KILL, Faults
from bench.gpu_day.stages.limits import MpsLimits, TrialResult
from bench.gpu_day.stages.project_tests import ProjectTests
from bench.gpu_day.stages.watched import Watched

OPEN = "not measured"


@dataclass(frozen=True, slots=True)
class DayAnswer:
    """A question, and what the day answers."""

    question: str
    answer: str


def answers(findings: Findings) -> tuple[DayAnswer, ...]:
    """Every question of the day, in order."""
    rows = [
        *_of_driver(findings),
        *_of_tests(findings.tests),
        *_of_watched(findings.watched),
        *_of_limits(findings.limits),
        *_of_servers(findings.colocate),
        *_of_faults(findings.fault),
    ]
    return tuple(DayAnswer(question, answer) for question, answer in rows)


def table(rows: Iterable[DayAnswer]) -> str:
    """For people, as Markdown."""
    lines = [f"| {row.question} | {row.answer} |" for row in rows]
    return "\n".join(["| question | answer |", "|---|---|", *lines])


def _of_driver(findings: Findings) -> Iterator[tuple[str, str]]:
    memory = None if findings.facts is None else findings.facts.memory
    apart = None if memory is None else memory.used_is_apart_from_reserved
    yield "NVML's memory query of version 2 leaves what the driver reserves out of `used`", _yes(answer=apart)
    yield (
        "NVML's memory query of version 1 counts it in",
        _yes(answer=None if memory is None else memory.used_v1_has_reserved),
    )
    cost = findings.nvml
    look, offered = OPEN, OPEN
    if cost is not None:
        look = f"p50 {1000 * (cost.sample.p50_s + cost.read.p50_s):.1f} ms, {1000 * cost.cpu_s:.1f} ms of CPU"
        offered = f"no: {cost.problem}" if cost.problem else "yes"
    yield "time that the device plugin needs to read the GPU once", look
    yield "the device plugin would offer the GPU", offered


def _of_tests(tests: ProjectTests | None) -> Iterator[tuple[str, str]]:
    question = "gpupack's own tests on real hardware"
    if tests is None:
        yield question, OPEN
        return
    # Those on the simulated driver say nothing about this one.
    passed = [name for name in tests.passed if not name.endswith("[simulated]")]
    counts = f"{len(passed)} passed, {len(tests.failed)} failed, {len(tests.skipped)} skipped"
    yield question, counts if passed or tests.failed else f"{OPEN}: {counts}"


def _of_watched(found: Watched | None) -> Iterator[tuple[str, str]]:
    contexts = [] if found is None else [each.context_mib for each in found.processes if each.context_mib is not None]
    errors = [] if found is None else [each.error_mib for each in found.processes]
    known = [error for error in errors if error is not None]
    yield "GPU memory of a process that has only opened CUDA", _mib(max(contexts) if contexts else None)
    yield (
        "the driver lists processes by the process IDs seen here",
        _yes(answer=None if found is None else found.pids_match),
    )
    if found is None:
        yield "memory per process is measured correctly", OPEN
    elif found.unknown or len(known) < len(errors) or not known:
        yield "memory per process is measured correctly", f"not known: {found.unknown or 'not every process is listed'}"
    else:
        worst = max(known, key=abs)
        right = "yes, to the MiB" if abs(worst) <= 1 else f"no, off by {worst:.0f} MiB"
        yield "memory per process is measured correctly", right


def _of_limits(found: MpsLimits | None) -> Iterator[tuple[str, str]]:
    trials = {} if found is None else {trial.name: trial for trial in found.trials}
    for how in ("malloc", "async", "vmm"):
        yield f"MPS holds a client to its limit ({how})", _held(trials.get(how))
    malloc = trials.get("malloc")
    seen = None if malloc is None or malloc.error else all(size == malloc.limit_mib for size in malloc.total_mib)
    yield "CUDA shows a client its limit as the size of the GPU", _yes(answer=seen)
    over = (
        [
            listed - taken
            for listed, taken in zip(malloc.listed_mib, malloc.taken_mib, strict=True)
            if listed is not None
        ]
        if malloc is not None
        else []
    )
    yield "memory that the driver lists for such a client beyond what it allocated", _mib(over[0] if over else None)
    yield "MPS holds a client to a limit that names the GPU by its index", _held(trials.get("by-index"))
    yield (
        "a limit that also names a GPU hidden from the client holds for the visible one",
        _within(trials.get("invisible-gpu-named"), 1024),
    )
    pair = trials.get("two-processes")
    of_limit = "" if pair is None or pair.error else f" of {pair.limit_mib} MiB each"
    yield "two processes of one client, each with the limit, can take", f"{_taken(pair)}{of_limit}"
    beside = trials.get("beside-the-daemon")
    yield "a process that does not use the MPS daemon can take, with a limit of 2048 MiB", _taken(beside)


def _of_servers(found: Colocated | None) -> Iterator[tuple[str, str]]:
    for mode in (TIME_SLICED, MPS):
        costs = {} if found is None else {cost.step: cost.gpu_mib for cost in found.costs if cost.mode == mode}
        yield f"GPU memory of an inference server before it loads its model ({mode})", _mib(costs.get("blas"))
    busy, idle = (None, None) if found is None else found.mps_server_mib
    yield "GPU memory that the driver lists for the MPS server with clients", _mib(busy)
    yield "GPU memory that the driver lists for the MPS server without clients", _mib(idle)


def _of_faults(found: Faults | None) -> Iterator[tuple[str, str]]:
    trials = {} if found is None else {(trial.mode, trial.fault): trial for trial in found.trials}
    for mode in (TIME_SLICED, MPS):
        for fault in (ILL_WRITE, KILL):
            trial = trials.get((mode, fault))
            answer = OPEN
            if trial is not None and trial.error:
                answer = f"{OPEN}: {trial.error}"
            elif trial is not None:
                answer = "no" if trial.victim_after == 0 else f"yes: CUDA error {trial.victim_after or 'not even told'}"
                answer += f"; a newcomer is refused: {trial.newcomer}" if trial.newcomer else ""
            yield f"a process that is ended by {fault} hurts its neighbour ({mode})", answer


def _mib(size_mib: float | None) -> str:
    return OPEN if size_mib is None else f"{size_mib:.0f} MiB"


def _yes(*, answer: bool | None) -> str:
    return OPEN if answer is None else ("yes" if answer else "no")


def _held(trial: TrialResult | None) -> str:
    if trial is None:
        return OPEN
    if trial.error:
        return f"{OPEN}: {trial.error}"
    answer = "yes" if trial.holds else "no"
    return f"{answer}: {', '.join(map(str, trial.taken_mib))} of {trial.limit_mib} MiB taken"


def _within(trial: TrialResult | None, limit_mib: int) -> str:
    if trial is None or trial.error:
        return _taken(trial)
    return f"{_yes(answer=all(taken <= limit_mib for taken in trial.taken_mib))}: {_taken(trial)} taken"


def _taken(trial: TrialResult | None) -> str:
    if trial is None:
        return OPEN
    return f"{OPEN}: {trial.error}" if trial.error else f"{', '.join(map(str, trial.taken_mib))} MiB"
