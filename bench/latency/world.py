"""Starts what a measurement needs: the simulated API server with its objects, an extender, and the floor."""

import json
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from bench.latency.driving import Caller, Cycles
from bench.latency.load import Body
from bench.simulated.processes import ExtenderProcess, ModuleProcess, free_port
from bench.simulated.waiting import wait_until

_AGAINST_TIMEOUT_S = 120.0
_WARM_UP_CYCLES = 60
_SETTLE_S = 0.5


@dataclass(frozen=True, slots=True)
class Size:
    """The cluster's size: nodes, GPUs and bound pods on each, bytes of a pod; `diverse` CPU requests or one."""

    nodes: int
    gpus: int = 8
    per_node: int = 4
    pod_bytes: int = 2500
    diverse: bool = False

    def arguments(self) -> list[str]:
        """For the simulated API server's command line."""
        return [str(value) for value in (self.nodes, self.gpus, self.per_node, self.pod_bytes, self.diverse)]

    def names(self) -> list[str]:
        """The nodes' names."""
        return [f"n{number:05}" for number in range(self.nodes)]


@dataclass(frozen=True, slots=True)
class Director:
    """Tells the simulated API server what to do."""

    port: int

    def create(self, prefix: str, count: int, **how: Any) -> list[dict[str, Any]]:
        """Create pending pods; they reach the extender by its watch."""
        made: list[dict[str, Any]] = self._post("create", {"prefix": prefix, "count": count, **how})
        return made

    def play(self, count: int, rate: int) -> None:
        """Begin to send `count` events of pods' lives, `rate` a second."""
        self._post("play", {"count": count, "rate": rate})

    def played(self) -> int:
        """Events sent so far."""
        return int(self._post("played", {})["played"])

    def _post(self, verb: str, order: dict[str, Any]) -> Any:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request("POST", f"/stage/{verb}", json.dumps(order).encode())
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


@dataclass(frozen=True, slots=True)
class Subject:
    """The extender under measurement; `pid` is 0 where its process is not known."""

    host: str
    port: int
    prefix: str = ""
    pid: int = 0
    callers: list[Caller] = field(default_factory=list)

    def caller(self) -> Caller:
        """A new kept connection to it, until `close`."""
        self.callers.append(Caller(self.host, self.port, self.prefix))
        return self.callers[-1]

    def close(self) -> None:
        """Close the connections."""
        for caller in self.callers:
            caller.close()


@dataclass(frozen=True, slots=True)
class World:
    """The processes of one measurement."""

    size: Size
    director: Director
    subject: Subject
    folder: Path
    names: list[str] = field(default_factory=list)

    def create(self, prefix: str, count: int, **how: Any) -> list[Body]:
        """Create pending pods, and give the watch a moment to bring them: their decoding is not to be measured."""
        pods = self.director.create(prefix, count, **how)
        time.sleep(_SETTLE_S)
        return pods

    def cycles(self, names: list[str], prefix: str = "warm") -> Cycles:
        """Cycles over these nodes, after a warm-up."""
        run = Cycles(self.subject.caller(), names, self.subject.pid)
        run.run(self.create(prefix, _WARM_UP_CYCLES))
        run.forget()
        return run


@dataclass(frozen=True, slots=True)
class Against:
    """Another extender: where it listens, its process where known, and the kubeconfig that it was started with."""

    host: str
    port: int
    prefix: str
    pid: int
    kubeconfig: Path
    api_port: int


@contextmanager
def world(size: Size, options: Sequence[str] = (), against: Against | None = None) -> Iterator[World]:
    """Start everything; `options` go to the extender.

    Raises:
        ProcessError: a process did not get ready.
        TimeoutError: nobody listens at the other extender's address.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        api_port = against.api_port if against is not None else free_port()
        kubeconfig = against.kubeconfig if against is not None else folder / "kubeconfig"
        stack.enter_context(stage(size, api_port, kubeconfig, folder))
        if against is not None:
            address = f"{against.host}:{against.port}"
            wait_until(partial(_listens, against), f"a server at {address}", timeout_s=_AGAINST_TIMEOUT_S)
            subject = Subject(against.host, against.port, against.prefix, against.pid)
        else:
            extender = stack.enter_context(extender_process(kubeconfig, folder, options))
            subject = Subject("127.0.0.1", extender.port, "", extender.pid)
        stack.callback(subject.close)
        yield World(size, Director(api_port), subject, folder, size.names())


def stage(size: Size, port: int, kubeconfig: Path, folder: Path) -> ModuleProcess:
    """The simulated API server."""
    arguments = [str(port), str(kubeconfig), *size.arguments()]
    return ModuleProcess("bench.latency.stage", arguments, port, log=folder / "stage.log")


def extender_process(kubeconfig: Path, folder: Path, options: Sequence[str]) -> ExtenderProcess:
    """The extender, which logs warnings only."""
    return ExtenderProcess(kubeconfig, folder / "extender.log", ["--log-level", "warning", *options])


def _listens(against: Against) -> bool:
    try:
        socket.create_connection((against.host, against.port), timeout=1.0).close()
    except OSError:
        return False
    return True


@contextmanager
def floor(keep: int) -> Iterator[Subject]:
    """The endpoint that decides nothing and echoes the first `keep` names."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        arguments = [str(port), str(keep)]
        with ModuleProcess("bench.latency.floor", arguments, port, log=Path(folder) / "floor.log") as process:
            subject = Subject("127.0.0.1", port, "", process.pid)
            yield subject
            subject.close()
