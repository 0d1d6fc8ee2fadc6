"""Runs an MPS control daemon of the day's own in a temporary folder, and ends it with everything it started."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from bench.gpu_day.day import SkipError
from bench.gpu_day.workloads.stand_ins import STAND_IN_PIPE
from bench.simulated.processes import ProcessError, ServerProcess
from bench.simulated.starting import Startable
from device_plugin.enforcing.mps import MpsControl, MpsError, MpsState

PROGRAM = "nvidia-cuda-mps-control"
PIPE = "CUDA_MPS_PIPE_DIRECTORY"
NO_MPS: Mapping[str, str] = {PIPE: "/nonexistent/gpu-day"}
"""So that a daemon that happens to run on the machine is not used."""

_FOLDERS = ("/usr/local/nvidia/bin", "/usr/bin")
"""Where images keep the driver's programs without naming the folder in PATH."""

_START_S = 20.0
_ASK_S = 10.0


def control_program() -> str | None:
    """The control program of MPS; None where there is none."""
    return shutil.which(PROGRAM) or shutil.which(PROGRAM, path=os.pathsep.join(_FOLDERS))


class OwnDaemon(Startable):
    """A control daemon that only the day's children know.

    Args:
        stand_in: start nothing; the stand-ins for CUDA then behave as clients of a daemon.
    """

    def __init__(self, *, stand_in: bool) -> None:
        self._stand_in = stand_in
        self._folder = Path()
        self._process: ServerProcess | None = None
        self._control: MpsControl | None = None
        self.start_s = 0.0
        """How long the daemon took to answer."""

    @property
    def environment(self) -> Mapping[str, str]:
        """What makes a CUDA program its client."""
        pipe = STAND_IN_PIPE if self._stand_in else str(self._folder / "pipe")
        return {PIPE: pipe, "CUDA_MPS_LOG_DIRECTORY": str(self._folder / "log")}

    def start(self) -> None:
        """Start it, and wait until it answers.

        Raises:
            SkipError: there is no MPS here, or the daemon does not start; the message says why.
        """
        if self._stand_in:
            return
        program = control_program()
        if program is None:
            raise SkipError(f"no {PROGRAM} on this machine")
        self._folder = Path(tempfile.mkdtemp(prefix="gpu-day-mps-"))
        for folder in (self._folder, self._folder / "pipe", self._folder / "log"):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o755)  # a client of another user must find the pipes
        environment = {**os.environ, **self.environment}
        self._control = MpsControl(self._folder / "pipe", program, _ASK_S)
        began_s = time.monotonic()
        try:
            log = self._folder / "daemon.log"
            self._process = ServerProcess("the MPS control daemon", [program, "-f"], log=log, env=environment)
            self._process.wait_ready(self._not_ready_because, timeout_s=_START_S)
        except (OSError, ProcessError) as error:
            self.stop()
            raise SkipError(str(error)) from error
        except BaseException:
            self.stop()
            raise
        self.start_s = time.monotonic() - began_s

    def stop(self) -> None:
        """End it and its servers; harmless when it does not run."""
        process, self._process = self._process, None
        if process is not None:
            self._quit()
            process.stop()
        if self._folder != Path():
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = Path()

    def state(self) -> MpsState | None:
        """Its servers and clients; None where it does not say, as the stand-in."""
        if self._control is None:
            return None
        with suppress(MpsError):
            return self._control.state()
        return None

    def log(self) -> tuple[str, ...]:
        """The last lines that the daemon and its servers wrote."""
        if self._control is None:
            return ()
        lines = []
        for name in ("control.log", "server.log"):
            with suppress(OSError):
                lines += (self._folder / "log" / name).read_text(errors="replace").splitlines()[-15:]
        return tuple(lines)

    def _not_ready_because(self) -> str | None:
        assert self._control is not None  # noqa: S101 - start has made it
        try:
            self._control.state()
        except MpsError as error:
            return str(error)
        return None

    def _quit(self) -> None:
        program = control_program()
        if program is None:
            return
        with suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(
                [program],
                input="quit\n",
                env={**os.environ, **self.environment},
                capture_output=True,
                text=True,
                timeout=_ASK_S,
                check=False,
            )
