"""A limit holds when every process was refused beyond it, and not when nothing was seen."""

from dataclasses import replace

import pytest

from bench.gpu_day.stages.limits import TRIALS, TrialResult

SEEN = TrialResult("malloc", 2048, 4096, taken_mib=(1984,), codes=(2,))


@pytest.mark.parametrize(
    ("result", "holds"),
    [
        (SEEN, True),
        (replace(SEEN, taken_mib=(2048, 2048)), True),
        (replace(SEEN, taken_mib=(2048, 2112)), False),
        (replace(SEEN, taken_mib=(0,)), False),
        (replace(SEEN, taken_mib=()), None),
        (replace(SEEN, error="no answer"), None),
        (replace(SEEN, limit_mib=None), None),
    ],
)
def test_a_limit_holds_or_not_or_was_not_seen(result: TrialResult, *, holds: bool | None) -> None:
    """A client that gets nothing at all was not limited, but broken."""
    assert result.holds is holds


def test_a_trial_asks_for_more_than_its_limit() -> None:
    """Otherwise it would show nothing; names are said once."""
    assert [trial.name for trial in TRIALS if trial.limit_mib is not None and trial.ask_mib <= trial.limit_mib] == []
    assert len({trial.name for trial in TRIALS}) == len(TRIALS)
