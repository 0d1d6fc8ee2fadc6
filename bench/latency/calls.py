"""Measures filter, prioritize and bind of one pod after another, each followed by the floor, so noise hits both."""

import json
import time
from http.client import HTTPConnection
from statistics import median
from typing import Any, Self

from bench.latency.driving import Bodies, Cycles
from bench.latency.load import SIZES_UNITS, filter_body, pod_body
from bench.latency.percentiles import Figures, cpu_seconds, figures, percentile, rss_mib
from bench.latency.world import Against, Size, Subject, World, floor, world

BEST = 16
"""Nodes that the extender answers with under scored placement."""


def measure_calls(
    size: Size, options: list[str], *, names: int, cycles: int, scored: bool, against: Against | None = None
) -> dict[str, Any]:
    """Latencies in milliseconds per call; `ratio` is filter's p50 to the floor's, `ratio_p10` that of the fast calls.

    Raises:
        AnswerError: the extender gave an answer that no working one gives.
        ProcessError: a process did not get ready.
    """
    placement = ["--placement", "scored"] if scored else ["--placement", "exact"]
    with world(size, [*options, *placement], against) as here, floor(BEST if scored else 1) as ground:
        asked = here.names[:names] if names else here.names
        run, floor_calls = here.cycles(asked), FloorCalls(ground, asked)
        for pod in here.create("load", cycles):
            run.run([pod])
            floor_calls.make(1)
        report = {verb: figures.to_json() for verb, figures in run.report().items()}
        if "prioritize" not in report:
            report["prioritize"] = _prioritize(here, asked).to_json()
        ground_figures = floor_calls.report()
        fast = percentile(sorted(run.seconds["filter"]), 0.1) / percentile(sorted(floor_calls.seconds), 0.1)
        return {
            "nodes": size.nodes,
            "gpus": size.gpus,
            "names": len(asked),
            "placement": "scored" if scored else "exact",
            **report,
            "floor": ground_figures.to_json(),
            "ratio": round(report["filter"]["p50_ms"] / ground_figures.p50_ms, 3),
            "ratio_p10": round(fast, 3),
            "bind_api_p50_ms": round(_binding_alone_ms(here), 3),
            "rss_mib": round(rss_mib(here.subject.pid), 1) if here.subject.pid else None,
        }


class FloorCalls:
    """Filter calls of the floor, made between those of the extender so that caches are as cold for both.

    Args:
        ground: the floor.
        names: the nodes asked about.
    """

    def __init__(self, ground: Subject, names: list[str]) -> None:
        bodies = Bodies(names)
        self._bodies = [bodies.filter(pod_body(f"floor-{at}", SIZES_UNITS[at % len(SIZES_UNITS)])) for at in range(24)]
        self._caller, self._pid = ground.caller(), ground.pid
        for body in self._bodies:
            self._caller.post("filter", body)
        self._size = 0
        self._cpu_s = cpu_seconds(self._pid)
        self.seconds: list[float] = []

    def make(self, count: int) -> Self:
        """Make `count` more calls."""
        for _ in range(count):
            elapsed_s, content = self._caller.post("filter", self._bodies[len(self.seconds) % len(self._bodies)])
            self.seconds.append(elapsed_s)
            self._size += len(content)
        return self

    def report(self) -> Figures:
        """Figures of all calls so far."""
        return figures(self.seconds, cpu_seconds(self._pid) - self._cpu_s, self._size)


def _prioritize(here: World, asked: list[str]) -> Figures:
    """Scores of the nodes that scored placement would ask about, for pods that hold nothing yet."""
    run = Cycles(here.subject.caller(), asked, here.subject.pid)
    for pod in here.create("score", 100):
        run.timed("prioritize", filter_body(pod, asked[:BEST]))
    return run.report()["prioritize"]


def _binding_alone_ms(here: World) -> float:
    """How long the API server itself takes for a Binding; the rest of a bind is the extender's."""
    connection = HTTPConnection("127.0.0.1", here.director.port, timeout=30)
    seconds: list[float] = []
    for pod in here.create("alone", 60):
        name = pod["metadata"]["name"]
        body = json.dumps({"metadata": {"name": name, "annotations": {}}, "target": {"name": here.names[-1]}})
        started_s = time.perf_counter()
        connection.request("POST", f"/api/v1/namespaces/default/pods/{name}/binding", body.encode())
        connection.getresponse().read()
        seconds.append(time.perf_counter() - started_s)
    connection.close()
    return median(seconds) * 1000
