"""A folder like /proc, and where its processes belong."""

from pathlib import Path

import pytest

from device_plugin.usage.accounting.processes import ProcessOwner
from device_plugin.usage.procfs import INITIAL_PID_NAMESPACE, ProcFolder

UID = "0f5e7a52-6f0b-4b1e-9d3c-2b1f6a7c8d90"
ID = "3f4a" * 16


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """The node's /proc, seen with hostPID."""
    (tmp_path / "self/ns").mkdir(parents=True)
    (tmp_path / "self/ns/pid").symlink_to(INITIAL_PID_NAMESPACE)
    return tmp_path


def process(proc: Path, pid: int, cgroup: str, comm: str = "python3") -> None:
    """A process that runs."""
    (proc / str(pid)).mkdir()
    (proc / str(pid) / "cgroup").write_text(f"0::{cgroup}\n")
    (proc / str(pid) / "comm").write_text(f"{comm}\n")


def test_processes_are_located(proc: Path) -> None:
    """In a container, on the node itself, the MPS server; one that has ended is left out."""
    process(proc, 10, f"/kubepods/burstable/pod{UID}/{ID}")
    process(proc, 11, "/user.slice/user-1000.slice/session-3.scope")
    process(proc, 12, "/system.slice/mps.service", "nvidia-cuda-mps")
    assert ProcFolder(proc).locate([10, 11, 12, 13]) == {
        10: ProcessOwner(UID, ID, f"/kubepods/burstable/pod{UID}/{ID}"),
        11: ProcessOwner(cgroup="/user.slice/user-1000.slice/session-3.scope"),
        12: ProcessOwner(cgroup="/system.slice/mps.service", is_mps_server=True),
    }


def test_this_machines_own_proc() -> None:
    """The first process is there, wherever we are."""
    assert 1 in ProcFolder().locate([1])


def test_the_nodes_pid_namespace_is_needed(proc: Path) -> None:
    """In another one, a PID of the driver's is nobody's or somebody else's."""
    before = ProcFolder(proc).obstacle()
    (proc / "self/ns/pid").unlink()
    (proc / "self/ns/pid").symlink_to("pid:[4026532345]")
    assert (before, "hostPID: true" in ProcFolder(proc).obstacle()) == ("", True)
    (proc / "self/ns/pid").unlink()
    assert "cannot be read" in ProcFolder(proc).obstacle()
