"""The demo, as a process that is told to end."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[3]
PATIENT_S = 60.0


def test_sigterm_leaves_nothing_behind() -> None:
    """As `timeout` and service managers send it: the folders of the cluster and its nodes are removed."""
    with tempfile.TemporaryDirectory(prefix="demo-", dir="/tmp") as folder:  # short: the paths of sockets are limited
        with subprocess.Popen(
            [sys.executable, "-m", "bench", "demo", "--seconds", "1", "--keep"],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": folder},
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            serving = next((line for line in process.stdout if line.startswith("extender:")), "")
            there = list(Path(folder).iterdir())
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=PATIENT_S)
        left = [path.name for path in Path(folder).iterdir() if path.name.startswith("gpupack-")]
    assert (serving != "", there != []) == (True, True)
    assert (process.returncode, left) == (128 + signal.SIGTERM, [])
