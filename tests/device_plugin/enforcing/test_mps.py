"""The MPS control daemon is asked through its program, with a time limit; what it says decides."""

from pathlib import Path

import pytest

from device_plugin.enforcing.mps import MpsControl, MpsError, MpsState, mps_obstacle
from tests.fakes.mps_control import FakeMpsDaemon


def control(daemon: FakeMpsDaemon, timeout_s: float = 10.0) -> MpsControl:
    """The client of a daemon."""
    return MpsControl(daemon.pipe_directory, str(daemon.program), timeout_s)


def test_servers_and_their_clients(tmp_path: Path) -> None:
    """Over all servers."""
    daemon = FakeMpsDaemon(tmp_path, {100: (1, 2), 200: (3,)})
    assert control(daemon).state() == MpsState((100, 200), frozenset({1, 2, 3}))


def test_a_daemon_without_servers_is_there(tmp_path: Path) -> None:
    """It starts one when the first client comes."""
    assert control(FakeMpsDaemon(tmp_path)).state() == MpsState()


def test_no_daemon_a_hanging_one_and_strange_answers_are_errors(tmp_path: Path) -> None:
    """Each says what is wrong; nothing waits for long."""
    daemon = FakeMpsDaemon(tmp_path, {100: ()})
    daemon.answer("get_client_list 100", "Server 100 not found\n")
    with pytest.raises(MpsError, match="answered 'get_client_list 100' with 'Server 100 not found'"):
        control(daemon).state()
    daemon.answer("get_client_list 100", "9" * 5000)
    with pytest.raises(MpsError, match="answered 'get_client_list 100' with '999"):
        control(daemon).state()
    (daemon.pipe_directory / "get_server_list").unlink()
    with pytest.raises(MpsError, match="Cannot find MPS control daemon process"):
        control(daemon).state()
    daemon.hang()
    with pytest.raises(MpsError, match=r"did not answer 'get_server_list' in 0\.3 s"):
        control(daemon, 0.3).state()
    with pytest.raises(MpsError, match="/nonexistent cannot be run: No such file"):
        MpsControl(daemon.pipe_directory, "/nonexistent").state()
    daemon.end()
    with pytest.raises(MpsError, match="no MPS control daemon at"):
        control(daemon).state()


@pytest.mark.parametrize(
    ("state", "capability", "clients", "expected"),
    [
        (MpsState(), (7, 0), 47, ""),
        ("no MPS control daemon at /run/mps", (8, 0), 0, "no MPS control daemon at /run/mps"),
        (MpsState(), None, 0, "the GPU's compute capability is not known"),
        (MpsState(), (6, 1), 0, "compute capability 6.1, MPS limits need 7.0"),
        (MpsState(), (9, 0), 48, "48 MPS clients, at most 48 are possible"),
    ],
)
def test_what_is_in_the_way(
    state: MpsState | str, capability: tuple[int, int] | None, clients: int, expected: str
) -> None:
    """Daemon, generation and the most clients that a GPU takes."""
    assert mps_obstacle(state, capability, clients) == expected
