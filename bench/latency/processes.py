"""Starts the programs under measurement as processes of their own, and stops them."""

import os
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Self

READY_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 15.0


class MeasuredProcess:
    """A Python module run as a process that serves HTTP on `port`; entered when /readyz answers 200.

    Raises:
        TimeoutError: on entering, when it is not ready in time or has ended.
    """

    def __init__(self, module: str, arguments: list[str], port: int, *, log: Path) -> None:
        self._command = [sys.executable, "-m", module, *arguments]
        self.port = port
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id, 0 when it does not run."""
        return self._process.pid if self._process is not None else 0

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONUNBUFFERED": "1"}
            )
        deadline_s = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline_s and self._process.poll() is None:
            if _is_ready(self.port):
                return self
            time.sleep(0.05)
        self._stop()
        tail = self._log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise TimeoutError(f"{' '.join(self._command)}: not ready within {READY_TIMEOUT_S} s:\n{tail}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_TIMEOUT_S)


def wait_listening(host: str, port: int, timeout_s: float) -> None:
    """Wait until somebody accepts connections there.

    Raises:
        TimeoutError: nobody did.
    """
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        try:
            socket.create_connection((host, port), timeout=1.0).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise TimeoutError(f"nobody listens on {host}:{port} after {timeout_s} s")


def _is_ready(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
