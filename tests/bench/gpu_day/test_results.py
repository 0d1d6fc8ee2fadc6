"""The file is read back as it was written, and only if it is one."""

from pathlib import Path

import pytest

from bench.gpu_day.answers import answers
from bench.gpu_day.findings import Findings
from bench.gpu_day.results import DayResult, StageOutcome, Status, read_result, write_result
from bench.gpu_day.stages.facts import Facts, MemoryAnswers
from bench.gpu_day.stages.limits import MpsLimits, TrialResult
from bench.gpu_day.stages.watched import Watched, WatchedProcess

MEMORY = MemoryAnswers(1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
FINDINGS = Findings(
    facts=Facts("A10", "580", "8.6", "disabled", MEMORY, "13", None, None, "6.1", "3.11", 2, 0, True, False),
    watched=Watched((WatchedProcess(1500, None, 2.0, None),), 3.0, True, ""),
    limits=MpsLimits(
        1.0, (TrialResult("malloc", 2048, 4096, (1,), (2,), (3.0,), (None,), (None,), (4.0,)),), ("line",)
    ),
)
RESULT = DayResult(
    begun="2026-11-30T10:00:00+00:00",
    dry_run=True,
    budget_s=500.0,
    seconds=12.5,
    stages={"facts": StageOutcome(Status.DONE, 1.0), "fault": StageOutcome(Status.OUT_OF_TIME, 0.0, "3 s are left")},
    findings=FINDINGS,
    answers=answers(FINDINGS),
)


def test_a_result_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    """With unknown values as such."""
    write_result(RESULT, tmp_path / "day.json")
    assert read_result(tmp_path / "day.json") == RESULT
    assert [path.name for path in tmp_path.iterdir()] == ["day.json"]


@pytest.mark.parametrize("change", [('"version": 1', '"version": 2'), ('"done"', '"fine"'), ('"budget_s": 500.0,', "")])
def test_anything_else_is_refused(tmp_path: Path, change: tuple[str, str]) -> None:
    """Another version, a status that is none, a field that is missing."""
    file = tmp_path / "day.json"
    write_result(RESULT, file)
    text = file.read_text()
    assert change[0] in text
    file.write_text(text.replace(*change))
    with pytest.raises(ValueError, match=r"version 2, expected 1|Invalid enum value|missing required field"):
        read_result(file)
