"""NVML is started anew for lost GPUs, less and less often."""

from device_plugin.gpus.renewal import Renewal


def due_at(renewal: Renewal, until_s: int) -> list[int]:
    """The seconds at which it is due while a GPU is lost."""
    return [now_s for now_s in range(until_s) if renewal.is_due(float(now_s), has_lost=True)]


def test_the_pauses_double() -> None:
    """From a minute to 16 minutes."""
    assert due_at(Renewal(), 3000) == [60, 180, 420, 900, 1860, 2820]


def test_it_begins_anew_when_no_gpu_is_lost() -> None:
    """Also when one was lost for less than a minute."""
    renewal = Renewal()
    due_at(renewal, 1000)
    assert not renewal.is_due(1000.0, has_lost=False)
    assert [renewal.is_due(1000.0 + more_s, has_lost=True) for more_s in (1.0, 60.0, 61.0)] == [False, False, True]
