"""Servers that tests start are waited for, explained when they fail, and never left behind."""

import os
import sys
from pathlib import Path

import pytest

from bench.simulated.processes import ProcessError, ServerProcess, free_port
from bench.simulated.waiting import wait_until

PARENT_OF_A_SLEEPER = """
import pathlib, subprocess, sys, time
child = subprocess.Popen(["sleep", "600"])
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
time.sleep(600)
"""


def test_a_free_port_is_below_the_range_of_outgoing_connections() -> None:
    """So that no connection takes it before the server does."""
    assert 15000 <= free_port() < 32000


def test_a_server_that_ends_at_once_shows_its_log(tmp_path: Path) -> None:
    """The reason is in what it wrote."""
    server = ServerProcess("broken", ["sh", "-c", "echo no such flag; exit 3"], log=tmp_path / "log")
    with pytest.raises(ProcessError, match=r"broken ended with status 3:\nno such flag"):
        server.wait_ready(lambda: "not yet", timeout_s=10)
    server.kill()


def test_a_server_that_is_never_ready_shows_what_is_missing(tmp_path: Path) -> None:
    """The last answer of the readiness check is part of the message."""
    server = ServerProcess("slow", ["sleep", "600"], log=tmp_path / "log")
    with pytest.raises(ProcessError, match=r"slow was not ready after 0.1 s \(port closed\)"):
        server.wait_ready(lambda: "port closed", timeout_s=0.1)
    server.kill()
    assert not server.is_running


def test_stopping_a_server_ends_its_children_as_well(tmp_path: Path) -> None:
    """A kubelet or a shell script must not leave processes to the next test."""
    noted = tmp_path / "pid"
    command = [sys.executable, "-c", PARENT_OF_A_SLEEPER, str(noted)]
    server = ServerProcess("parent", command, log=tmp_path / "log")
    written = wait_until(lambda: noted.read_text("utf-8") if noted.exists() else "", what="the child's start")
    child = int(written)
    server.stop()
    wait_until(lambda: not _runs(child), what="the child's end", timeout_s=10)


def _runs(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    os.kill(process, 0)
    return status.rpartition(")")[2].split()[0] != "Z"
