"""What the driver says is wrong stays wrong until it says otherwise, and a question that fails is no good answer."""

import pytest

from device_plugin.gpus.answers import MemorySize, Told
from device_plugin.gpus.diagnosis import NO_MEMORY, ROWS_FAILED, CaseHistory, Checkup, HealthFinding
from device_plugin.gpus.readings import RowRemaps
from extender.contract.units import GpuUuid

A, B = GpuUuid("GPU-a"), GpuUuid("GPU-b")
MEMORY = Told(MemorySize(1 << 30, 1 << 20))
GOOD_ROWS = Told(RowRemaps(1, 1, is_pending=True, has_failed=False))
BAD_ROWS = Told(RowRemaps(1, 1, is_pending=True, has_failed=True))
FAILED: Told[RowRemaps] = Told(trouble="Unknown Error")
SILENT: Told[RowRemaps] = Told()
LOST: Told[RowRemaps] = Told(trouble="GPU is lost", is_lost=True)


def test_a_gpu_that_answers_well() -> None:
    """And one that has no answer to questions of newer kinds."""
    history = CaseHistory()
    assert history.diagnose(A, Checkup(MEMORY, GOOD_ROWS, Told(False))) == HealthFinding()
    assert history.diagnose(B, Checkup(MEMORY)) == HealthFinding()


@pytest.mark.parametrize(
    "checkup",
    [
        Checkup(Told(trouble="Unknown Error"), GOOD_ROWS, Told(False)),
        Checkup(MEMORY, FAILED, Told(False)),
        Checkup(MEMORY, GOOD_ROWS, Told(trouble="Unknown Error")),
    ],
)
def test_one_question_that_fails_is_enough(checkup: Checkup) -> None:
    """Each is answered by every GPU that works."""
    assert CaseHistory().diagnose(A, checkup) == HealthFinding("NVML: Unknown Error")


def test_rows_that_failed_stay_so_until_they_are_said_to_be_good() -> None:
    """Neither a failure nor silence heals them; nor are they another GPU's."""
    history, answers = CaseHistory(), (BAD_ROWS, FAILED, LOST, SILENT, GOOD_ROWS, SILENT)
    found = [history.diagnose(A, Checkup(MEMORY, rows)).problem for rows in answers]
    assert found == [ROWS_FAILED, ROWS_FAILED, ROWS_FAILED, ROWS_FAILED, "", ""]
    assert history.diagnose(B, Checkup(MEMORY)).problem == ""


def test_a_recovery_that_is_needed_stays_so_until_it_is_said_to_be_done() -> None:
    """Likewise."""
    history = CaseHistory()
    silent: Told[bool] = Told()
    failed: Told[bool] = Told(trouble="Unknown Error")
    answers = (Told(True), silent, failed, Told(False), silent)
    found = [history.diagnose(A, Checkup(MEMORY, needs_recovery=each)).needs_recovery for each in answers]
    assert found == [True, True, True, False, False]


def test_memory_that_is_no_longer_told() -> None:
    """Unless it never is, where all memory is the machine's; a failure is one there, too."""
    history = CaseHistory()
    assert history.diagnose(A, Checkup(Told())).problem == NO_MEMORY
    assert history.diagnose(A, Checkup(Told()), is_size_told=False).problem == ""
    assert history.diagnose(A, Checkup(Told(trouble="Timeout")), is_size_told=False).problem == "NVML: Timeout"


def test_memory_that_cannot_be() -> None:
    """A driver that says so can't be trusted with the rest either."""
    found = CaseHistory().diagnose(A, Checkup(Told(MemorySize(0, 5))))
    assert found.problem == "its memory cannot be right: 0 bytes"


def test_lost() -> None:
    """Any answer may say so."""
    assert [Checkup(MEMORY, LOST).is_lost, Checkup(MEMORY, FAILED).is_lost] == [True, False]
