"""What the plugin measures of a process is compared with its context and what it took."""

import pytest

from bench.gpu_day.stages.watched import WatchedProcess


@pytest.mark.parametrize(
    ("context_mib", "measured_mib", "error_mib"),
    [(500.0, 2000, 0.0), (500.0, 2003, 3.0), (500.0, 1500, -500.0), (None, 2000, None), (500.0, None, None)],
)
def test_the_error_is_what_is_measured_beyond_both(
    context_mib: float | None, measured_mib: int | None, error_mib: float | None
) -> None:
    """Unknown where either is."""
    assert WatchedProcess(1500, context_mib, None, measured_mib).error_mib == error_mib
