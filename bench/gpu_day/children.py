"""Starts the day's processes: children that answer in JSON lines, and programs that run for a limited time.

No child outlives its context. If this program itself is killed, the kernel kills its children, and their input ends.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Any

from bench.simulated.processes import ROOT, ends_with_its_parent
from bench.simulated.starting import Startable

_END_S = 3.0
_CLEAN_UP_S = 10.0
_NOBODY = 65534

Reply = Mapping[str, Any]


class ChildError(Exception):
    """A child failed, ended or did not answer in time; the message says which."""


class Child(Startable):
    """A Python module that takes and gives JSON lines.

    Args:
        module: what `python -m` runs.
        settings: its one argument, as JSON.
        environment: variables besides those of this process.
        as_nobody: run it as another user than this process.
    """

    def __init__(
        self, module: str, settings: Reply, environment: Mapping[str, str], *, as_nobody: bool = False
    ) -> None:
        self._command = [sys.executable, "-m", module, json.dumps(settings)]
        self._environment = python_environment(environment)
        self._user = _NOBODY if as_nobody else None
        self._answers: queue.Queue[Reply] = queue.Queue()
        self._process: subprocess.Popen[str] | None = None
        self._pumping = threading.Thread()

    @property
    def pid(self) -> int:
        """Its process ID."""
        return self._running().pid

    def start(self) -> None:
        """Start it; what it says first is to be taken with `take`.

        Raises:
            ChildError: it cannot be started.
        """
        try:
            self._process = subprocess.Popen(
                [*ends_with_its_parent(), *self._command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=self._environment,
                user=self._user,
                group=self._user,
                extra_groups=None if self._user is None else [],
                start_new_session=True,
            )
        except OSError as error:
            raise ChildError(f"{self._command[2]} cannot be started: {error.strerror}") from error
        self._pumping = threading.Thread(target=self._pump, args=(self._process,), daemon=True)
        self._pumping.start()

    def stop(self) -> None:
        """End it; harmless when it does not run."""
        process, self._process = self._process, None
        if process is None:
            return
        _close(process)
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            _kill_session(process)
            self._pumping.join(_END_S)

    def let_go(self) -> None:
        """Tell it to end without waiting for it, so that several can end at the same time; `stop` waits."""
        _close(self._running())

    def kill(self) -> None:
        """Send SIGKILL."""
        self._running().kill()

    def send(self, do: str, **arguments: object) -> None:
        """Give it a command; its answer is to be taken with `take`."""
        # A child that has ended is told by `take`.
        with suppress(OSError):
            _pipe(self._running().stdin).write(json.dumps({"do": do, **arguments}) + "\n")
            _pipe(self._running().stdin).flush()

    def take(self, timeout_s: float) -> Reply:
        """Its next answer.

        Raises:
            ChildError: there was none in time, the child ended, or its answer is an error.
        """
        try:
            answer = self._answers.get(timeout=max(0.1, timeout_s))
        except queue.Empty:
            raise ChildError(f"no answer within {timeout_s:.1f} s") from None
        if "error" in answer:
            raise ChildError(str(answer["error"]))
        return answer

    def ask(self, timeout_s: float, do: str, **arguments: object) -> Reply:
        """Give it a command and take its answer.

        Raises:
            ChildError: see `take`.
        """
        self.send(do, **arguments)
        return self.take(timeout_s)

    def _pump(self, process: subprocess.Popen[str]) -> None:
        with _pipe(process.stdout) as lines:
            for line in lines:
                with suppress(ValueError):
                    self._answers.put(json.loads(line))
        self._answers.put({"error": f"the process ended with status {process.wait()}"})

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise ChildError(f"{self._command[2]} does not run")
        return self._process


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None  # noqa: S101 - Popen was told to make one
    return pipe


def _close(process: subprocess.Popen[str]) -> None:
    """Close its input; what it did not read any more is lost."""
    with suppress(OSError):
        _pipe(process.stdin).close()


def _kill_session(process: subprocess.Popen[str]) -> None:
    """Kill a process and what it has started, unless it has ended by itself: its ID may be another's by now."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def python_environment(more: Mapping[str, str]) -> dict[str, str]:
    """This process's variables and more, so that a Python child finds the project without being installed."""
    paths = filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1", **more}


def finished(
    command: Sequence[str], timeout_s: float, environment: Mapping[str, str], *, grace_s: float = _CLEAN_UP_S
) -> tuple[int, str]:
    """Status and output of a program; when it is out of time or we are told to stop, it may first clean up.

    Raises:
        ChildError: it did not end in time.
    """
    process = subprocess.Popen(
        [*ends_with_its_parent(), *command],
        cwd=ROOT,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise ChildError(f"it did not end within {timeout_s:.0f} s") from None
    finally:
        _end(process, grace_s)
        _pipe(process.stdout).close()
    return process.returncode, output


def _end(process: subprocess.Popen[str], grace_s: float) -> None:
    """Interrupt the program so that it can clean up, then kill what is left of its session."""
    if process.poll() is not None:
        return
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(grace_s)
    _kill_session(process)
