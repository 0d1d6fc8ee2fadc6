"""Drives an extender the way kube-scheduler does: one filter after another on a kept connection, then the bind."""

import json
import random
import time
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any

from bench.latency.load import SIZES_UNITS, bind_body, filter_body, pod_body
from bench.latency.percentiles import Figures, cpu_seconds, figures

HEADERS = {"Content-Type": "application/json", "User-Agent": "Go-http-client/1.1", "Accept-Encoding": "gzip"}
VERBS = ("filter", "prioritize", "bind")


class AnswerError(Exception):
    """An answer that no working extender gives."""


@dataclass(slots=True)
class Caller:
    """One kept connection to an extender at host:port, with a path prefix where it has one."""

    host: str
    port: int
    prefix: str = ""
    connection: HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        self.connection = HTTPConnection(self.host, self.port, timeout=30)

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def post(self, verb: str, body: bytes) -> tuple[float, bytes]:
        """Seconds until the whole answer was there, and the answer.

        Raises:
            AnswerError: not 200.
        """
        started_s = time.perf_counter()
        self.connection.request("POST", f"{self.prefix}/{verb}", body, HEADERS)
        answer = self.connection.getresponse()
        content = answer.read()
        elapsed_s = time.perf_counter() - started_s
        if answer.status != 200:
            raise AnswerError(f"{verb} answered {answer.status}: {content[:200]!r}")
        return elapsed_s, content


class Bodies:
    """Filter bodies; kube-scheduler gathers the names in parallel, so their order differs from call to call."""

    def __init__(self, names: list[str], seed: int = 1) -> None:
        self._draws = random.Random(seed)
        self._orders = [self._draws.sample(names, len(names)) for _ in range(16)]

    def filter(self, pod: dict[str, Any]) -> bytes:
        """A call about all names."""
        return filter_body(pod, self._draws.choice(self._orders))


def measure_floor(caller: Caller, names: list[str], calls: int, pid: int) -> Figures:
    """Filter calls that decide nothing."""
    bodies = Bodies(names)
    calls_made = [bodies.filter(pod_body(f"floor-{at}", SIZES_UNITS[at % len(SIZES_UNITS)])) for at in range(24)]
    for body in calls_made:
        caller.post("filter", body)
    cpu_s = cpu_seconds(pid)
    seconds, size = [], 0
    for number in range(calls):
        elapsed_s, content = caller.post("filter", calls_made[number % len(calls_made)])
        seconds.append(elapsed_s)
        size += len(content)
    return figures(seconds, cpu_seconds(pid) - cpu_s, size)


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
        """Filter and, where more than one node is left, prioritize; the node that wins.

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
        """Call, and count the call."""
        cpu_s = cpu_seconds(self.pid) if self.pid else 0.0
        elapsed_s, content = self.caller.post(verb, body)
        self.cpu_s[verb] += cpu_seconds(self.pid) - cpu_s if self.pid else 0.0
        self.seconds[verb].append(elapsed_s)
        self.sizes[verb] += len(content)
        return content

    def forget(self) -> None:
        """Drop what was measured so far: it was the warm-up."""
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
