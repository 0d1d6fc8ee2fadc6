"""Answers say what the findings answer, and leave open what was not measured."""

from dataclasses import replace

import pytest

from bench.gpu_day.answers import OPEN, DayAnswer, answers, table
from bench.gpu_day.findings import Findings
from bench.gpu_day.stages.limits import MpsLimits, TrialResult
from bench.gpu_day.stages.nvml_cost import NvmlCost
from bench.gpu_day.stages.project_tests import OneTest, ProjectTests
from bench.gpu_day.stages.watched import Watched, WatchedProcess
from bench.latency.percentiles import Delays

RIGHT = "memory per process is measured correctly"
MALLOC = TrialResult("malloc", 2048, 4096, (2048,), (2,), (2048.0,), (2548.0,), (True,), (1.0,))
EXACT = WatchedProcess(1500, 500.0, 2000.0, 2000)
LOOK = Delays(40, 0.002, 0.003, 0.004)


def told(findings: Findings) -> dict[str, str]:
    """Question to answer; no question is asked twice."""
    found = answers(findings)
    assert len({row.question for row in found}) == len(found)
    return {row.question: row.answer for row in found}


def test_of_nothing_everything_is_open() -> None:
    """Nothing is claimed by default."""
    assert set(told(Findings()).values()) == {OPEN}


def test_every_question_is_asked_whatever_was_found() -> None:
    """A day that skipped a stage has the same table as one that did not."""
    found = Findings(watched=Watched((EXACT,), 500.0, True, ""), limits=MpsLimits(1.0, (MALLOC,)))
    assert list(told(found)) == list(told(Findings()))


@pytest.mark.parametrize(
    ("watched", "answer"),
    [
        (Watched((EXACT, replace(EXACT, measured_mib=2001)), None, True, ""), "yes, to the MiB"),
        (Watched((EXACT, replace(EXACT, measured_mib=1900)), None, True, ""), "no, off by -100 MiB"),
        (Watched((EXACT, replace(EXACT, measured_mib=None)), None, True, ""), "not known: not every process is listed"),
        (Watched((EXACT,), None, True, "the driver does not say"), "not known: the driver does not say"),
        (Watched((), None, False, ""), "not known: not every process is listed"),
    ],
)
def test_memory_is_measured_right_only_when_all_of_it_is(watched: Watched, answer: str) -> None:
    """The worst process counts."""
    assert told(Findings(watched=watched))[RIGHT] == answer


def test_what_a_client_took_stands_beside_its_limit() -> None:
    """And what the driver lists for it beyond that."""
    found = told(Findings(limits=MpsLimits(1.0, (MALLOC, replace(MALLOC, name="vmm", taken_mib=(4096,))))))
    assert found["MPS holds a client to its limit (malloc)"] == "yes: 2048 of 2048 MiB taken"
    assert found["CUDA shows a client its limit as the size of the GPU"] == "yes"
    assert found["MPS holds a client to its limit (vmm)"] == "no: 4096 of 2048 MiB taken"
    assert found["MPS holds a client to its limit (async)"] == OPEN
    assert found["memory that the driver lists for such a client beyond what it allocated"] == "500 MiB"


def test_a_trial_that_failed_is_open_and_says_why() -> None:
    """It is neither a yes nor a no."""
    failed = [TrialResult(name, None, 1, error="no answer") for name in ("malloc", "two-processes", "by-index")]
    found = told(Findings(limits=MpsLimits(1.0, tuple(failed))))
    assert found["MPS holds a client to its limit (malloc)"] == f"{OPEN}: no answer"
    assert found["MPS holds a client to a limit that names the GPU by its index"] == f"{OPEN}: no answer"
    assert found["two processes of one client, each with the limit, can take"] == f"{OPEN}: no answer"


@pytest.mark.parametrize(("taken_mib", "answer"), [(1024, "yes: 1024 MiB taken"), (4096, "no: 4096 MiB taken")])
def test_whether_an_invisible_gpu_drops_the_limit(taken_mib: int, answer: str) -> None:
    """The claim is that it does."""
    trial = TrialResult("invisible-gpu-named", None, 4096, (taken_mib,), (0,), (1.0,), (None,), (None,), (1.0,))
    question = "a limit that also names a GPU hidden from the client holds for the visible one"
    assert told(Findings(limits=MpsLimits(1.0, (trial,))))[question] == answer


def test_tests_on_the_simulated_driver_do_not_count() -> None:
    """They say nothing about a GPU."""
    skipped = (OneTest("test_a[real]", "no driver"),)
    question = "gpupack's own tests on real hardware"
    only_simulated = ProjectTests(("test_a[simulated]",), (), skipped)
    assert told(Findings(tests=only_simulated))[question] == f"{OPEN}: 0 passed, 0 failed, 1 skipped"
    real = replace(only_simulated, passed=("test_a[simulated]", "test_b[real]"))
    assert told(Findings(tests=real))[question] == "1 passed, 0 failed, 1 skipped"


def test_a_look_costs_time_and_cpu() -> None:
    """Sample and reading together; a GPU that would not be offered says why."""
    cost = NvmlCost(0.5, 40, LOOK, LOOK, 0.0015, "XID 79")
    found = told(Findings(nvml=cost))
    assert found["time that the device plugin needs to read the GPU once"] == "p50 4.0 ms, 1.5 ms of CPU"
    assert found["the device plugin would offer the GPU"] == "no: XID 79"


def test_the_table_is_markdown() -> None:
    """For docs/enforcement.md."""
    assert table([DayAnswer("a", "yes")]) == "| question | answer |\n|---|---|\n| a | yes |"
