"""MPS is proven on a GPU by a client of our own that is held to its limit there, and by nothing less."""

from collections.abc import Callable
from pathlib import Path

import pytest

from device_plugin.enforcing.mps import MpsControl, MpsState
from device_plugin.enforcing.mps_proofs import NOT_TRIED, OTHERS, MpsProofs
from device_plugin.enforcing.mps_trial import LIMIT_MIB
from extender.contract.units import GpuUuid
from tests.fakes.cuda import build_cuda
from tests.fakes.mps_control import FakeMpsDaemon

A, B = GpuUuid("GPU-a"), GpuUuid("GPU-b")


@pytest.fixture(scope="module")
def cuda(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the simulated CUDA driver."""
    return build_cuda(tmp_path_factory.mktemp("cuda"))


@pytest.fixture
def daemon(cuda: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeMpsDaemon:
    """An MPS daemon without clients, on a machine with that driver."""
    monkeypatch.setenv("LD_LIBRARY_PATH", str(cuda))
    return FakeMpsDaemon(tmp_path)


def proofs(
    daemon: FakeMpsDaemon,
    *,
    timeout_s: float = 20.0,
    clock_s: Callable[[], float] = lambda: 0.0,
    proc: Path | None = None,
) -> MpsProofs:
    """Of that daemon."""
    control = MpsControl(daemon.pipe_directory, str(daemon.program), 10.0)
    root = daemon.pipe_directory if proc is None else proc
    return MpsProofs(control, daemon.pipe_directory, root, timeout_s=timeout_s, clock_s=clock_s)


def test_a_client_that_is_held_to_its_limit_proves_its_gpu_only(daemon: FakeMpsDaemon) -> None:
    """Of the other GPU nothing is known."""
    found = proofs(daemon)
    assert (found.obstacle(A), found.is_due(A)) == (NOT_TRIED, True)
    found.attempt(A, MpsState())
    assert (found.obstacle(A), found.obstacle(B)) == ("", NOT_TRIED)
    assert (found.is_due(A), found.is_due(B)) == (False, True)


@pytest.mark.parametrize(
    ("mode", "timeout_s", "why"),
    [
        ("no-limit", 20.0, f"a client took more than its limit of {LIMIT_MIB} MiB"),
        ("no-client", 20.0, "a process of ours on this GPU is not a client of the daemon"),
        ("refuses", 20.0, "cuCtxCreate answered with CUDA error 805"),
        ("full", 20.0, "not even 16 MiB are free to try it with"),
        ("crowded", 20.0, "too little memory is free to distinguish the limit from a full GPU"),
        ("hangs-at-init", 1.5, "no answer from a client in 1.5 s"),
    ],
)
def test_anything_less_is_no_proof_and_says_what_was_missing(
    daemon: FakeMpsDaemon, mode: str, timeout_s: float, why: str
) -> None:
    """Whether the limit failed, or nothing could be told."""
    (daemon.pipe_directory / mode).touch()
    daemon.serve({100: ()})
    proc = daemon.pipe_directory / "proc"
    (proc / "100").mkdir(parents=True)
    found = proofs(daemon, timeout_s=timeout_s, proc=proc)
    found.attempt(A, MpsState())
    assert found.obstacle(A) == why


def test_without_a_cuda_driver_nothing_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugin's container lacks the driver capability."""
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    found = proofs(FakeMpsDaemon(tmp_path))
    found.attempt(A, MpsState())
    assert found.obstacle(A) == "libcuda.so.1 is missing: the device plugin needs the driver capability compute"


def test_a_proof_outlives_the_plugin_but_not_the_daemon(daemon: FakeMpsDaemon) -> None:
    """Another daemon may serve other GPUs."""
    proofs(daemon).attempt(A, MpsState())
    again = proofs(daemon)
    assert (again.obstacle(A), again.is_due(A)) == ("", False)
    daemon.end()
    assert (again.obstacle(A), again.is_due(A)) == (NOT_TRIED, False)
    (daemon.pipe_directory / "taken").touch()
    (daemon.pipe_directory / "control").touch()
    assert (again.obstacle(A), again.is_due(A)) == (NOT_TRIED, True)


def test_what_failed_is_tried_again_after_minutes(daemon: FakeMpsDaemon) -> None:
    """A context on a GPU costs seconds and memory."""
    now_s = [0.0]
    (daemon.pipe_directory / "no-limit").touch()
    found = proofs(daemon, clock_s=lambda: now_s[0])
    found.attempt(A, MpsState())
    due = [found.is_due(A)]
    now_s[0] = 300.0
    assert [*due, found.is_due(A)] == [False, True]
    (daemon.pipe_directory / "no-limit").unlink()
    found.attempt(A, MpsState())
    assert found.obstacle(A) == ""


def test_clients_of_another_user_are_not_driven_out(daemon: FakeMpsDaemon, tmp_path: Path) -> None:
    """A server serves one user; a client of another one would end it once its clients are gone."""
    found = proofs(daemon, proc=tmp_path / "empty-proc")
    found.attempt(A, MpsState(servers=(100,), clients=frozenset({7})))
    assert found.obstacle(A) == OTHERS


@pytest.mark.parametrize("text", ["", "[]", "{", '{"GPU-a": 3}', '{"GPU-a": [1]}'])
def test_a_damaged_record_proves_nothing(daemon: FakeMpsDaemon, text: str) -> None:
    """It is tried again."""
    (daemon.pipe_directory / "gpupack-proven.json").write_text(text)
    assert proofs(daemon).obstacle(A) == NOT_TRIED
