"""Drives an extender the way kube-scheduler does: one filter after another on a kept connection, then the bind."""

import json
import random
import re
import socket
import time
from dataclasses import dataclass, field
from typing import Any

from bench.latency.load import bind_body, filter_body
from bench.latency.percentiles import Figures, cpu_seconds, figures

_REQUEST = (
    b"POST %b/%b HTTP/1.1\r\nHost: %b:%d\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: %d\r\n"
    b"Content-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n"
)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+) *\r\n", re.IGNORECASE)
_TIMEOUT_S = 30.0
VERBS = ("filter", "prioritize", "bind")


class AnswerError(Exception):
    """An answer that no working extender gives."""


@dataclass(slots=True)
class Caller:
    """One kept connection to an extender at host:port, with a path prefix where it has one.

    Speaks bare HTTP/1.1 with Content-Length: http.client needs a third of the time that the answer does, and
    kube-scheduler's own client is not Python.
    """

    host: str
    port: int
    prefix: str = ""
    _socket: socket.socket | None = field(init=False, default=None)

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def post(self, verb: str, body: bytes) -> tuple[float, bytes]:
        """Send a call; seconds until the whole answer arrived, and the answer.

        Raises:
            AnswerError: not 200, or without a Content-Length.
            OSError: the connection broke.
        """
        request = _REQUEST % (self.prefix.encode(), verb.encode(), self.host.encode(), self.port, len(body)) + body
        if self._socket is None:
            self._socket = socket.create_connection((self.host, self.port), timeout=_TIMEOUT_S)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        started_s = time.perf_counter()
        self._socket.sendall(request)
        status, content = _read_answer(self._socket)
        elapsed_s = time.perf_counter() - started_s
        if status != 200:
            raise AnswerError(f"{verb} answered {status}: {content[:200]!r}")
        return elapsed_s, content


def _read_answer(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body.

    Raises:
        AnswerError: no Content-Length, or the connection ended.
    """
    received = b""
    while (end := received.find(b"\r\n\r\n")) < 0:
        received += _received(connection)
    length = _LENGTH.search(received, 0, end + 2)
    if length is None:
        raise AnswerError(f"an answer without Content-Length, kube-scheduler keeps no connection then: {received!r}")
    content = received[end + 4 :]
    while len(content) < int(length[1]):
        content += _received(connection)
    return int(received[9:12]), content


def _received(connection: socket.socket) -> bytes:
    block = connection.recv(1 << 20)
    if not block:
        raise AnswerError("the connection was closed in the middle of an answer")
    return block


class Bodies:
    """Filter bodies; kube-scheduler gathers the names in parallel, so their order differs from call to call."""

    def __init__(self, names: list[str], seed: int = 1) -> None:
        self._draws = random.Random(seed)
        self._orders = [self._draws.sample(names, len(names)) for _ in range(16)]

    def filter(self, pod: dict[str, Any]) -> bytes:
        """A call about all names."""
        return filter_body(pod, self._draws.choice(self._orders))


@dataclass(slots=True)
class Cycles:
    """Scheduling cycles against one extender: filter, prioritize where several nodes are left, bind.

    `pid` is the extender's process, 0 where it is not known; `last` is the seconds of the latest filter.
    """

    caller: Caller
    names: list[str]
    pid: int
    pause_s: float = 0.0
    seconds: dict[str, list[float]] = field(default_factory=lambda: {verb: [] for verb in VERBS})
    sizes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(VERBS, 0))
    cpu_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(VERBS, 0.0))
    bodies: Bodies = field(init=False)

    def __post_init__(self) -> None:
        self.bodies = Bodies(self.names)

    def run(self, pods: list[dict[str, Any]]) -> None:
        """Place each pod; `pause_s` is what the scheduler does between two pods.

        Raises:
            AnswerError: a pod was refused although there is room, or not bound.
        """
        for pod in pods:
            node = self.filter(pod)
            self.bind(pod, node)
            if self.pause_s:
                time.sleep(self.pause_s)

    def filter(self, pod: dict[str, Any]) -> str:
        """Filter and, if more than one node is left, prioritize; returns the winning node.

        Raises:
            AnswerError: the pod was refused.
        """
        left = json.loads(self.timed("filter", self.bodies.filter(pod))).get("NodeNames") or []
        if not left:
            raise AnswerError(f"filter left no node for {pod['metadata']['name']} although the cluster has room")
        if len(left) == 1:
            return str(left[0])
        scores = json.loads(self.timed("prioritize", filter_body(pod, left)))
        return str(max(scores, key=lambda score: score["Score"])["Host"])

    def bind(self, pod: dict[str, Any], node: str) -> None:
        """Bind it.

        Raises:
            AnswerError: it was not bound.
        """
        error = json.loads(self.timed("bind", bind_body(pod, node))).get("Error")
        if error:
            raise AnswerError(f"bind of {pod['metadata']['name']} to {node}: {error}")

    def timed(self, verb: str, body: bytes) -> bytes:
        """Send a call and record its time."""
        cpu_s = cpu_seconds(self.pid) if self.pid else 0.0
        elapsed_s, content = self.caller.post(verb, body)
        self.cpu_s[verb] += cpu_seconds(self.pid) - cpu_s if self.pid else 0.0
        self.seconds[verb].append(elapsed_s)
        self.sizes[verb] += len(content)
        return content

    def forget(self) -> None:
        """Drop what was measured so far, the warm-up."""
        for verb, seconds in self.seconds.items():
            seconds.clear()
            self.sizes[verb] = 0
            self.cpu_s[verb] = 0.0

    def report(self) -> dict[str, Figures]:
        """Figures per verb that was called."""
        return {
            verb: figures(seconds, self.cpu_s[verb], self.sizes[verb])
            for verb, seconds in self.seconds.items()
            if seconds
        }
