"""The stand-ins keep to MPS's limit as its documents say, and show what they would use."""

import os
from pathlib import Path

import pytest

from bench.gpu_day.workloads.stand_ins import LIMIT, STAND_IN_PIPE, USE_FOLDER, StandInCuda, limit_mib, note_use, uses

CLIENT = {"CUDA_MPS_PIPE_DIRECTORY": STAND_IN_PIPE, "CUDA_VISIBLE_DEVICES": "GPU-a"}


@pytest.mark.parametrize(
    ("environment", "most_mib"),
    [
        ({**CLIENT, LIMIT: "GPU-a=2048M"}, 2048),
        ({**CLIENT, LIMIT: "0=2048M"}, 2048),
        ({**CLIENT, LIMIT: "GPU-b=1024M,GPU-a=2048M"}, 16384),
        (CLIENT, 16384),
        ({**CLIENT, LIMIT: "GPU-a=2048M", "CUDA_MPS_PIPE_DIRECTORY": "/elsewhere"}, 16384),
        ({LIMIT: "GPU-a=2048M"}, 16384),
    ],
    ids=["by UUID", "by index", "an invisible GPU", "no limit", "another daemon", "no client"],
)
def test_what_a_process_may_take(environment: dict[str, str], most_mib: int) -> None:
    """A limit counts for clients of the daemon."""
    assert limit_mib(environment) == most_mib


def test_uses_are_of_processes_that_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others have ended."""
    monkeypatch.setenv(USE_FOLDER, str(tmp_path))
    (tmp_path / "4194305").write_text("99")  # above the largest process ID
    note_use(300)
    note_use(500)
    assert uses(tmp_path) == {os.getpid(): 500}


def test_a_stand_in_for_cuda_takes_memory_until_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Step by step; what it takes shows."""
    for name, value in {**CLIENT, LIMIT: "GPU-a=200M", USE_FOLDER: str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    cuda = StandInCuda()
    assert cuda.grow(128, 64, "malloc") == {"got_mib": 128, "code": 0}
    assert cuda.grow(128, 64, "malloc") == {"got_mib": 64, "code": 2}
    assert (cuda.info(), uses(tmp_path)) == ({"free_mib": 8, "total_mib": 200}, {os.getpid(): 492})
    assert (cuda.launch("bad"), cuda.launch("spin", 5, wait=False)) == ({"code": 700}, {"code": 0})
