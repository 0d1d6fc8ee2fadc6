"""Runs what a page says in bash, as whoever reads the page would, and returns what it printed."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

_MAKES = ("MAKE", "MFLAGS", "ARGS")
"""Variables that `make e2e` leaves behind: with them a `make` that a page names would get its arguments."""


def run_written(text: str, *, folder: Path, environment: Mapping[str, str], timeout_s: float) -> str:
    """Run a block of commands; the first that fails ends it.

    Raises:
        RuntimeError: it failed; the message is what it said.
    """
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=folder,
        env={name: value for name, value in environment.items() if not name.startswith(_MAKES)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )
    if done.returncode:
        raise RuntimeError(f"{text}\nended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout
