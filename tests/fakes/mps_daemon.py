"""A program that is nvidia-cuda-mps-control twice: the daemon (`-f`) and what asks it."""

import sys
from pathlib import Path

_PROGRAM = """#!{python}
import os, pathlib, sys, time
folder = pathlib.Path(os.environ["CUDA_MPS_PIPE_DIRECTORY"])
logs = pathlib.Path(os.environ.get("CUDA_MPS_LOG_DIRECTORY", folder))
if sys.argv[1:] == ["-f"]:
    if (pathlib.Path(__file__).parent / "refuses").exists():
        sys.exit("An instance of this daemon is already running")
    (logs / "control.log").write_text("Starting control daemon\\n")
    (folder / "get_server_list").touch()
    (folder / "control").touch()
    while not (folder / "quit").exists():
        time.sleep(0.02)
    sys.exit(0)
command = sys.stdin.readline().strip()
if command == "quit":
    (folder / "quit").touch()
    sys.exit(0)
answer = folder / command.replace(" ", "_")
if not answer.exists():
    print("Cannot find MPS control daemon process")
    sys.exit(1)
sys.stdout.write(answer.read_text())
"""


def install_mps(folder: Path, *, refuses: bool = False) -> Path:
    """The folder of the program, for PATH; `refuses` lets the daemon end at once."""
    folder.mkdir(exist_ok=True)
    program = folder / "nvidia-cuda-mps-control"
    program.write_text(_PROGRAM.format(python=sys.executable))
    program.chmod(0o755)
    if refuses:
        (folder / "refuses").touch()
    return folder
