"""The real extender as a process of its own, which tests start, stop, kill and freeze."""

import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import urllib3

from bench.simulated.waiting import wait_until

_FIRST, _LAST = 15_000, 32_000


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on.

    Taken from below the range that the kernel gives to outgoing connections: a port of that range could be given away
    in the moment before the server opens it.

    Raises:
        OSError: none was found.
    """
    for _ in range(1000):
        port = random.randrange(_FIRST, _LAST)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as candidate:
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"none of 1000 ports between {_FIRST} and {_LAST} of 127.0.0.1 was free")


_STOP_TIMEOUT_S = 20.0


class ExtenderProcess:
    """`python -m extender` on a fixed loopback port.

    Args:
        kubeconfig: how it reaches the API server.
        log: file that its output is added to.
        arguments: further options.
    """

    def __init__(self, kubeconfig: Path, log: Path, arguments: Sequence[str] = ()) -> None:
        self.port = free_port()
        self._kubeconfig = kubeconfig
        self._log = log
        self._arguments = tuple(arguments)
        self._process: subprocess.Popen[bytes] | None = None
        self._http = urllib3.PoolManager(retries=False, timeout=2.0)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Its process.

        Raises:
            RuntimeError: it was not started.
        """
        return self._running().pid

    def start(self, *, ready: bool = True, timeout_s: float = 30.0) -> None:
        """Start it, and wait until it is ready unless told not to.

        Raises:
            RuntimeError: it ended instead; the message has the end of its log.
            TimeoutError: it did not become ready.
        """
        # The repository's root, where both packages lie when they are not installed.
        root = Path(__file__).resolve().parents[2]
        command = [sys.executable, "-m", "extender", "--kubeconfig", str(self._kubeconfig)]
        command += ["--listen", f"127.0.0.1:{self.port}", *self._arguments]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=root, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
            )
        if ready:
            wait_until(self.is_ready, "the extender to be ready", timeout_s=timeout_s)

    def is_ready(self) -> bool:
        """Whether /readyz says so.

        Raises:
            RuntimeError: the process has ended.
        """
        if self._running().poll() is not None:
            tail = self._log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise RuntimeError(f"the extender ended with {self._running().returncode}:\n{tail}")
        try:
            return self._http.request("GET", f"{self.url}/readyz").status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of a GET.

        Raises:
            urllib3.exceptions.HTTPError: nobody answered.
        """
        reply = self._http.request("GET", f"{self.url}{path}")
        return reply.status, reply.data

    def kill(self) -> None:
        """SIGKILL: no goodbye."""
        process = self._running()
        process.kill()
        process.wait(_STOP_TIMEOUT_S)

    def freeze(self) -> None:
        """SIGSTOP: it holds its connections and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> int:
        """SIGTERM; its exit status (killed after a while if it does not end)."""
        if self._process is None:
            return 0
        process = self._process
        self._process = None
        self._http.clear()
        if process.poll() is None:
            # A frozen process would not see the signal.
            os.kill(process.pid, signal.SIGCONT)
            process.terminate()
        try:
            return process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait(_STOP_TIMEOUT_S)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the extender was not started")
        return self._process
