"""A program that answers as nvidia-cuda-mps-control does, from a script that a test writes."""

import sys
from collections.abc import Mapping
from pathlib import Path

_PROGRAM = """#!{python}
import os, pathlib, sys, time
folder = pathlib.Path(os.environ["CUDA_MPS_PIPE_DIRECTORY"])
command = sys.stdin.readline().strip()
with (folder / "commands").open("a") as commands:
    commands.write(command + "\\n")
answer = folder / command.replace(" ", "_")
if (folder / "hangs").exists():
    time.sleep(60)
if not answer.exists():
    print("Cannot find MPS control daemon process")
    sys.exit(1)
sys.stdout.write(answer.read_text())
"""


class FakeMpsDaemon:
    """A pipe directory under `folder`, and the program that asks it."""

    def __init__(self, folder: Path, servers: Mapping[int, tuple[int, ...]] | None = None) -> None:
        self.pipe_directory = folder / "mps"
        self.pipe_directory.mkdir()
        self.program = folder / "mps-control"
        self.program.write_text(_PROGRAM.format(python=sys.executable))
        self.program.chmod(0o755)
        (self.pipe_directory / "control").touch()
        self.serve(servers or {})

    def serve(self, servers: Mapping[int, tuple[int, ...]]) -> None:
        """Have these servers, each with its clients."""
        self.answer("get_server_list", "".join(f"{pid}\n" for pid in servers))
        for pid, clients in servers.items():
            self.answer(f"get_client_list {pid}", "".join(f"{client}\n" for client in clients))

    def answer(self, command: str, text: str) -> None:
        """Answer a command with this text."""
        (self.pipe_directory / command.replace(" ", "_")).write_text(text)

    def commands(self) -> list[str]:
        """What it was asked so far."""
        asked = self.pipe_directory / "commands"
        return asked.read_text().splitlines() if asked.exists() else []

    def hang(self) -> None:
        """Answer nothing any more."""
        (self.pipe_directory / "hangs").touch()

    def end(self) -> None:
        """Go away, without taking the folder along."""
        (self.pipe_directory / "control").unlink()
