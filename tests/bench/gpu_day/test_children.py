"""Children answer or are an error in time, and none outlives its context."""

import os
import sys
import time
from pathlib import Path

import pytest

from bench.gpu_day.children import Child, ChildError, finished, python_environment
from bench.gpu_day.workloads.stand_ins import USE_FOLDER
from bench.simulated.waiting import wait_until

CLIENT = "bench.gpu_day.workloads.client"
PATIENT_S = 30.0


def is_gone(pid: int) -> bool:
    """Whether a process has ended."""
    return not Path(f"/proc/{pid}").exists()


def client(folder: Path) -> Child:
    """A stand-in for a CUDA program."""
    return Child(CLIENT, {"stand_in": True}, {USE_FOLDER: str(folder)})


def test_a_child_answers_and_ends(tmp_path: Path) -> None:
    """With its context, whatever happens in it."""
    with client(tmp_path) as child:
        assert child.take(PATIENT_S)["pid"] == child.pid
        pid = child.pid
        assert child.ask(PATIENT_S, "grow", mib=64, step_mib=64, how="malloc") == {"got_mib": 64, "code": 0}
    assert is_gone(pid)


def test_a_child_whose_command_fails_is_an_error_and_lives_on(tmp_path: Path) -> None:
    """The error is the child's own."""
    with client(tmp_path) as child:
        child.take(PATIENT_S)
        with pytest.raises(ChildError, match="TypeError"):
            child.ask(PATIENT_S, "grow", wrong=1)
        assert child.ask(PATIENT_S, "touch") == {"code": 0}


def test_a_child_that_ends_or_is_silent_is_an_error(tmp_path: Path) -> None:
    """In the time that was given."""
    with client(tmp_path) as child:
        child.take(PATIENT_S)
        with pytest.raises(ChildError, match="no answer within"):
            child.take(0.1)
        child.kill()
        with pytest.raises(ChildError, match="ended with status -9"):
            child.ask(PATIENT_S, "touch")
    with pytest.raises(ChildError, match="does not run"):
        child.send("touch")


def test_a_program_that_is_out_of_time_may_clean_up(tmp_path: Path) -> None:
    """It is interrupted first; what it has started is killed with it."""
    code = (
        "import signal, subprocess, sys, time\n"
        # Where the tests run in the background, SIGINT is ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"child = subprocess.Popen(['sleep', '60'])\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
        f"try:\n    time.sleep(60)\nfinally:\n    open({str(tmp_path / 'cleaned')!r}, 'w').close()\n    time.sleep(60)"
    )
    began_s = time.monotonic()
    with pytest.raises(ChildError, match="did not end within 6 s"):
        finished([sys.executable, "-c", code], 6.0, os.environ, grace_s=3.0)
    assert time.monotonic() - began_s < 25
    assert (tmp_path / "cleaned").exists()
    wait_until(lambda: is_gone(int((tmp_path / "pid").read_text())), "the child's child to end", timeout_s=10)


def test_a_program_gives_status_and_output() -> None:
    """Both of its outputs."""
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(4)"
    status, output = finished([sys.executable, "-c", code], PATIENT_S, python_environment({}))
    assert (status, sorted(output.split())) == (4, ["err", "out"])
