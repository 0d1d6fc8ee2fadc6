"""Starts server programs, waits until they are ready, keeps their output in a file, and never leaves them behind."""

import atexit
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import urllib3

from bench.simulated.starting import Startable

ROOT = Path(__file__).resolve().parents[2]
"""The folder that the packages lie in, also when they are not installed."""

KILL_AFTER_S = 15.0
TAIL_BYTES = 4000
_FIRST_PORT, _LAST_PORT = 15_000, 32_000


class ProcessError(RuntimeError):
    """A server ended or did not become ready; the message has the end of its log."""


def free_port() -> int:
    """A free port of 127.0.0.1.

    Taken from below the range that the kernel gives to outgoing connections: a port of that range could be given away
    in the moment before the server opens it.

    Raises:
        OSError: none was found.
    """
    for _ in range(1000):
        port = random.randrange(_FIRST_PORT, _LAST_PORT)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as candidate:
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"none of 1000 ports between {_FIRST_PORT} and {_LAST_PORT} of 127.0.0.1 was free")


def not_ok_because(url: str, *, ca_file: str = "", timeout_s: float = 2.0) -> str | None:
    """Why a GET of `url` is not answered with 200; None when it is."""
    with urllib3.PoolManager(retries=False, timeout=timeout_s, ca_certs=ca_file or None) as pool:
        try:
            status = pool.request("GET", url).status
        except urllib3.exceptions.HTTPError as error:
            return str(error)
    return None if status == 200 else f"{url} answered {status}"


class ServerProcess:
    """One running server, in a process group of its own so that its children go with it."""

    def __init__(self, name: str, command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*ends_with_its_parent(), *command],
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
            self.signal(signal.SIGTERM)
            # A frozen process acts on SIGTERM only once it continues.
            self.signal(signal.SIGCONT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
        self.kill()

    def kill(self) -> None:
        """End the whole process group at once; harmless when it has ended already."""
        self.signal(signal.SIGKILL)
        self._process.wait()
        atexit.unregister(self.kill)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole process group; harmless when it has ended already."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def log_tail(self) -> str:
        """The last part of what it wrote."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
            return file.read().decode(errors="replace")


class ModuleProcess(Startable):
    """`python -m module` that serves HTTP on a loopback port and says at /readyz whether it is ready.

    Use it as a context manager, or call `start` and `stop`; it may be started again.

    Args:
        module: what to run.
        arguments: its command line.
        port: where it listens.
        log: file that its output is added to.
        prefix: a program that runs it, such as `prlimit` with its options.
        environment: variables besides those of this process.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        port: int,
        *,
        log: Path,
        prefix: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.port = port
        self._module = module
        self._arguments = tuple(arguments)
        self._prefix = tuple(prefix)
        self._environment = dict(environment or {})
        self._log = log
        self._process: ServerProcess | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Its process's id.

        Raises:
            RuntimeError: it was not started.
        """
        return self._running().pid

    def start(self, *, timeout_s: float = 120.0) -> None:
        """Start it, and wait until it is ready.

        Raises:
            ProcessError: it ended instead, or did not become ready; the message has the end of its log.
        """
        paths = filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **self._environment}
        command = [*self._prefix, sys.executable, "-m", self._module, *self._arguments]
        self._process = ServerProcess(self._module, command, log=self._log, env=environment)
        try:
            self._process.wait_ready(lambda: not_ok_because(f"{self.url}/readyz"), timeout_s=timeout_s)
        except BaseException:
            self._process.kill()
            raise

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of a GET.

        Raises:
            urllib3.exceptions.HTTPError: there was no answer.
        """
        reply = urllib3.request("GET", f"{self.url}{path}", retries=False, timeout=2.0)
        return reply.status, reply.data

    def kill(self) -> None:
        """Send SIGKILL."""
        self._running().kill()

    def freeze(self) -> None:
        """Send SIGSTOP: it keeps its connections and answers nothing."""
        self._running().signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Send SIGCONT."""
        self._running().signal(signal.SIGCONT)

    def stop(self) -> None:
        """Send SIGTERM, then SIGKILL if it does not end; harmless when it does not run."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def _running(self) -> ServerProcess:
        if self._process is None:
            raise RuntimeError(f"{self._module} was not started")
        return self._process


class ExtenderProcess(ModuleProcess):
    """The real extender on a free loopback port.

    Args:
        kubeconfig: how it reaches the API server.
        log: file that its output is added to.
        arguments: further options.
    """

    def __init__(self, kubeconfig: Path, log: Path, arguments: Sequence[str] = ()) -> None:
        port = free_port()
        options = ["--kubeconfig", str(kubeconfig), "--listen", f"127.0.0.1:{port}", *arguments]
        super().__init__("extender", options, port, log=log)


def ends_with_its_parent() -> list[str]:
    """A prefix that makes the kernel kill a program when this process is killed; empty where that is not possible.

    The kernel watches the thread that started the program, so this is only for the main thread.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None or threading.current_thread() is not threading.main_thread():
        return []
    return [setpriv, "--pdeathsig", "KILL", "--"]
