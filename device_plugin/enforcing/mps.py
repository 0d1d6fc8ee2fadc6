"""Asks the MPS control daemon for its servers and clients, and ends clients, through its own control program.

Commands and answers: https://docs.nvidia.com/deploy/mps (nvidia-cuda-mps-control). Every command has a timeout: a
daemon that hangs counts as missing.
"""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from device_plugin.gpus.standing import MPS_CLIENTS_PER_GPU
from extender.contract.quantity import parse_digits

_TIMEOUT_S = 3.0
_LEAST_CAPABILITY = (7, 0)
"""Volta: before it, MPS had no limits per client."""


class MpsError(Exception):
    """The daemon cannot be asked or gave an invalid answer; the message says why."""


@dataclass(frozen=True, slots=True)
class MpsState:
    """What the daemon reported at one moment: processes of its servers, and of their clients, in the node's numbering.

    `server_of` has the server of each client.
    """

    servers: tuple[int, ...] = ()
    clients: frozenset[int] = frozenset()
    server_of: Mapping[int, int] = field(default_factory=dict, compare=False)


class MpsControl:
    """Asks one control daemon.

    Args:
        pipe_directory: the daemon's CUDA_MPS_PIPE_DIRECTORY.
        program: nvidia-cuda-mps-control, or its path.
        timeout_s: for each command.
    """

    def __init__(self, pipe_directory: Path, program: str, timeout_s: float = _TIMEOUT_S) -> None:
        self._pipe_directory = pipe_directory
        self._program = program
        self._timeout_s = timeout_s

    def state(self) -> MpsState:
        """Its servers and their clients.

        Raises:
            MpsError: no daemon, no answer in time, or an invalid answer.
        """
        if not (self._pipe_directory / "control").exists():
            raise MpsError(f"no MPS control daemon at {self._pipe_directory}")
        servers = self._ask("get_server_list")
        server_of = {client: server for server in servers for client in self._ask(f"get_client_list {server}")}
        return MpsState(servers, frozenset(server_of), server_of)

    def terminate(self, server: int, client: int) -> None:
        """End a client's work on its GPUs, so that it can be killed without harming the server; the process stays.

        Raises:
            MpsError: the daemon refused, or did not do it in time.
        """
        command = f"terminate_client {server} {client}"
        done = self._run(command)
        if done.returncode:
            said = " ".join([*done.stdout.split(), *done.stderr.split()])[:200]
            raise MpsError(f"the MPS control daemon answered {command!r} with {said or done.returncode!r}")

    def _run(self, command: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(  # noqa: S603 - the program is a setting, and the command goes to its input
                [self._program],
                input=f"{command}\n",
                capture_output=True,
                text=True,
                errors="replace",
                timeout=self._timeout_s,
                env={**os.environ, "CUDA_MPS_PIPE_DIRECTORY": str(self._pipe_directory)},
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise MpsError(f"the MPS control daemon did not answer {command!r} in {self._timeout_s:g} s") from error
        except OSError as error:
            raise MpsError(f"{self._program} cannot be run: {error.strerror}") from error

    def _ask(self, command: str) -> tuple[int, ...]:
        """The process IDs in the daemon's answer, one per line."""
        done = self._run(command)
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        found = [pid for line in lines if (pid := parse_digits(line)) is not None]
        if done.returncode or len(found) < len(lines):
            said = " ".join([*lines, *done.stderr.split()])[:200]
            raise MpsError(f"the MPS control daemon answered {command!r} with {said or done.returncode!r}")
        return tuple(found)


def mps_obstacle(
    state: MpsState | str, capability: tuple[int, int] | None, clients_on_gpu: int, unproven: str = ""
) -> str:
    """Why a container cannot be limited by MPS on one GPU; empty when it can.

    `state` is what the daemon reported, or why it cannot be asked; `unproven` is why no client was seen to be held to
    its limit on that GPU.
    """
    if isinstance(state, str):
        return state
    if capability is None:
        return "the GPU's compute capability is not known"
    if capability < _LEAST_CAPABILITY:
        return f"compute capability {capability[0]}.{capability[1]}, MPS limits need 7.0"
    if clients_on_gpu >= MPS_CLIENTS_PER_GPU:
        return f"{clients_on_gpu} MPS clients, at most {MPS_CLIENTS_PER_GPU} are possible"
    return unproven
