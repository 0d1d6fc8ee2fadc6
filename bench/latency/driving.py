"""Drives an extender the way kube-scheduler does: one filter after another on a kept connection, then the bind."""

import json
import time
from dataclasses import dataclass, field
from http.client import HTTPConnection

from bench.latency.load import SIZES_UNITS, bind_body, filter_body, pod_body
from bench.latency.percentiles import Figures, cpu_seconds, figures
from bench.simulated.client import ClusterClient

HEADERS = {"Content-Type": "application/json", "User-Agent": "Go-http-client/1.1", "Accept-Encoding": "gzip"}


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


def measure_floor(caller: Caller, names: list[str], calls: int, pid: int) -> Figures:
    """Filter calls that decide nothing."""
    bodies = [filter_body(pod_body(f"floor-{units}", units), names) for units in SIZES_UNITS]
    for body in bodies * 5:
        caller.post("filter", body)
    cpu_s = cpu_seconds(pid)
    seconds, size = [], 0
    for number in range(calls):
        elapsed_s, content = caller.post("filter", bodies[number % len(bodies)])
        seconds.append(elapsed_s)
        size += len(content)
    return figures(seconds, cpu_seconds(pid) - cpu_s, size)


@dataclass(slots=True)
class Cycles:
    """Scheduling cycles against one extender: filter, prioritize where several nodes are left, bind."""

    caller: Caller
    client: ClusterClient
    names: list[str]
    pid: int
    seconds: dict[str, list[float]] = field(default_factory=lambda: {"filter": [], "prioritize": [], "bind": []})
    sizes: dict[str, int] = field(default_factory=lambda: {"filter": 0, "prioritize": 0, "bind": 0})
    cpu_s: dict[str, float] = field(default_factory=lambda: {"filter": 0.0, "prioritize": 0.0, "bind": 0.0})

    def run(self, prefix: str, cycles: int) -> None:
        """Create `cycles` pods and place each.

        Raises:
            AnswerError: a pod was refused although there is room, or not bound.
        """
        pods = [
            self.client.create_pod(pod_body(f"{prefix}-{number}", SIZES_UNITS[number % len(SIZES_UNITS)]))
            for number in range(cycles)
        ]
        # The watch brings the new pods; their decoding is not what is measured here.
        time.sleep(0.5)
        for pod in pods:
            left = json.loads(self._timed("filter", filter_body(pod, self.names))).get("NodeNames") or []
            if not left:
                raise AnswerError(f"filter left no node for {pod['metadata']['name']} although the cluster has room")
            node = left[0]
            if len(left) > 1:
                scores = json.loads(self._timed("prioritize", filter_body(pod, left)))
                node = max(scores, key=lambda score: score["Score"])["Host"]
            error = json.loads(self._timed("bind", bind_body(pod, node))).get("Error")
            if error:
                raise AnswerError(f"bind of {pod['metadata']['name']} to {node}: {error}")

    def _timed(self, verb: str, body: bytes) -> bytes:
        cpu_s = cpu_seconds(self.pid)
        elapsed_s, content = self.caller.post(verb, body)
        self.cpu_s[verb] += cpu_seconds(self.pid) - cpu_s
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
