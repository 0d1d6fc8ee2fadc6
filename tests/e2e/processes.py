"""Starts a server program, waits until it is ready, keeps its output in a file, and never leaves it behind."""

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

KILL_AFTER_S = 10.0
TAIL_BYTES = 4000


class ProcessError(RuntimeError):
    """A server ended or did not become ready; the message has the end of its log."""


class ServerProcess:
    """One running server, in a process group of its own so that its children go with it."""

    def __init__(self, name: str, command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*_ends_with_its_parent(), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=None if env is None else dict(env),
                start_new_session=True,
            )
        atexit.register(self.kill)

    @property
    def pid(self) -> int:
        """The process's id, which is its process group's id too."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def wait_ready(self, not_ready_because: Callable[[], str | None], *, timeout_s: float) -> Self:
        """Poll `not_ready_because` until it answers None, which means ready.

        Raises:
            ProcessError: the process ended, or the time is over.
        """
        deadline = time.monotonic() + timeout_s
        while (reason := not_ready_because()) is not None:
            if not self.is_running:
                raise ProcessError(f"{self.name} ended with status {self._process.returncode}:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise ProcessError(f"{self.name} was not ready after {timeout_s:g} s ({reason}):\n{self.log_tail()}")
            time.sleep(0.05)
        return self

    def stop(self, timeout_s: float = KILL_AFTER_S) -> None:
        """Ask it to end (SIGTERM), then make it (SIGKILL); harmless when it has ended already."""
        if self.is_running:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
        self.kill()

    def kill(self) -> None:
        """End the whole process group at once; harmless when it has ended already."""
        self._signal(signal.SIGKILL)
        self._process.wait()
        atexit.unregister(self.kill)

    def log_tail(self) -> str:
        """The last part of what it wrote."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
            return file.read().decode(errors="replace")

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)


def _ends_with_its_parent() -> list[str]:
    """A prefix that makes the kernel kill the server when the test run itself is killed.

    The kernel watches the thread that started the server, so this is only for the main thread.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None or threading.current_thread() is not threading.main_thread():
        return []
    return [setpriv, "--pdeathsig", "KILL", "--"]
