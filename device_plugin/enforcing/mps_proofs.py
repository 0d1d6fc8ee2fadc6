"""Tries on each GPU whether MPS holds a client to its limit, and remembers the result while the daemon is the same.

A daemon that answers is no proof: it may only serve other GPUs, or a driver may ignore the limits. So a process of our
own becomes a client on the GPU, is looked for in the daemon's list of clients, and tries to take more than its limit.
"""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import IO

from device_plugin.enforcing.mps import MpsControl, MpsError, MpsState
from device_plugin.enforcing.mps_trial import LIMIT_MIB
from extender.contract.quantity import parse_digits
from extender.contract.units import GpuUuid

_LOG = logging.getLogger(__name__)

NOT_TRIED = "not tried on this GPU yet"
OTHERS = "not tried on this GPU yet: the daemon serves clients of another user, which a client of ours would drive out"
_TIMEOUT_S = 20.0
_RETRY_S = 300.0
_END_S = 2.0
_FILE = "gpupack-proven.json"

_Stamp = tuple[int, int, int]


class MpsProofs:
    """Tries MPS, and remembers where it held.

    Results are kept in a file in the daemon's folder, so that a restart of the plugin needs no second trial.

    Args:
        control: the daemon.
        pipe_directory: its folder.
        proc_root: where the node's /proc is.
        timeout_s: for each step of a trial.
        clock_s: monotonic seconds.
    """

    def __init__(
        self,
        control: MpsControl,
        pipe_directory: Path,
        proc_root: Path = Path("/proc"),
        *,
        timeout_s: float = _TIMEOUT_S,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._control = control
        self._pipe_directory = pipe_directory
        self._proc_root = proc_root
        self._timeout_s = timeout_s
        self._clock_s = clock_s
        self._proven = self._read()
        self._failed: dict[GpuUuid, tuple[_Stamp | None, str, float]] = {}

    def obstacle(self, uuid: GpuUuid) -> str:
        """Why MPS is not proven on that GPU with the current daemon; empty when it is."""
        now = self._daemon()
        if now is not None and self._proven.get(uuid) == now:
            return ""
        failed = self._failed.get(uuid)
        return failed[1] if failed is not None and failed[0] == now else NOT_TRIED

    def is_due(self, uuid: GpuUuid) -> bool:
        """Whether a trial could bring a new result."""
        failed = self._failed.get(uuid)
        if not self.obstacle(uuid) or self._daemon() is None:
            return False
        return failed is None or failed[0] != self._daemon() or self._clock_s() - failed[2] >= _RETRY_S

    def attempt(self, uuid: GpuUuid, state: MpsState) -> None:
        """Try it on that GPU; takes seconds."""
        daemon = self._daemon()
        if daemon is None:
            return
        why = OTHERS if self._serves_others(state) else self._try(uuid)
        if why:
            _LOG.info("GPU %s: MPS: %s", uuid, why)
            self._failed[uuid] = (daemon, why, self._clock_s())
            return
        _LOG.info("GPU %s: MPS: a client was held to its limit", uuid)
        self._failed.pop(uuid, None)
        self._proven[uuid] = daemon
        self._write()

    def _daemon(self) -> _Stamp | None:
        """What distinguishes a daemon from its successor; None without a daemon."""
        try:
            found = (self._pipe_directory / "control").stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_ctime_ns

    def _serves_others(self, state: MpsState) -> bool:
        """Whether it serves another user: it has one server at a time, which a client of ours would end once idle."""
        return any(self._user_of(server) != os.getuid() for server in state.servers)

    def _user_of(self, pid: int) -> int | None:
        try:
            return (self._proc_root / str(pid)).stat().st_uid
        except OSError:
            return None

    def _try(self, uuid: GpuUuid) -> str:
        with _Trial(self._environment(uuid)) as trial:
            first = trial.line(self._timeout_s)
            pid = parse_digits(first)
            if pid is None:
                return first.removeprefix("not known: ") or "the trial ended without a result"
            try:
                clients = self._control.state().clients
            except MpsError as error:
                return str(error)
            if pid not in clients:
                return "a process of ours on this GPU is not a client of the daemon"
            trial.go_on()
            return trial.line(self._timeout_s).removeprefix("not known: ")

    def _environment(self, uuid: GpuUuid) -> dict[str, str]:
        """The same variables that a container gets."""
        return {
            **os.environ,
            "CUDA_VISIBLE_DEVICES": uuid,
            "CUDA_MPS_PIPE_DIRECTORY": str(self._pipe_directory),
            "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": f"{uuid}={LIMIT_MIB}M",
        }

    def _read(self) -> dict[GpuUuid, _Stamp]:
        try:
            found = json.loads((self._pipe_directory / _FILE).read_text(encoding="utf-8"))
            return {GpuUuid(uuid): (int(a), int(b), int(c)) for uuid, (a, b, c) in found.items()}
        except (OSError, ValueError, AttributeError, TypeError, OverflowError):
            return {}

    def _write(self) -> None:
        path = self._pipe_directory / _FILE
        try:
            fresh = path.with_suffix(".new")
            fresh.write_text(json.dumps(self._proven), encoding="utf-8")
            fresh.replace(path)
        except OSError as error:
            _LOG.info("results of MPS trials cannot be kept: %s", error)


class _Trial:
    """The process of a trial; it never outlives the context."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "device_plugin.enforcing.mps_trial"],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("Popen gave no pipes, which it was asked for")
        self._input, self._output = self._process.stdin, self._process.stdout
        self._lines: Queue[str] = Queue()

    def __enter__(self) -> "_Trial":
        Thread(target=self._pump, args=(self._output,), name="mps-trial", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._input.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            # It runs no kernel, so killing it cannot take down the server.
            self._process.kill()
            self._process.wait(_END_S)

    def _pump(self, lines: IO[str]) -> None:
        for line in lines:
            self._lines.put(line.strip())
        self._lines.put("the trial ended without a result")
        lines.close()

    def line(self, timeout_s: float) -> str:
        """Its next line, or that there was none in time."""
        try:
            return self._lines.get(timeout=timeout_s)
        except Empty:
            return f"no answer from a client in {timeout_s:g} s"

    def go_on(self) -> None:
        """Let it try."""
        with suppress(OSError):
            self._input.write("\n")
            self._input.flush()
