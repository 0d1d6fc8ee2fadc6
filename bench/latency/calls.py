"""One cycle after another, warm: filter, prioritize and bind beside the floor, in turns so that drift hits both."""

import json
import time
from dataclasses import replace
from http.client import HTTPConnection
from statistics import median
from typing import Any

from bench.latency.driving import Cycles, measure_floor
from bench.latency.load import filter_body
from bench.latency.percentiles import Figures, rss_mib
from bench.latency.world import Size, World, floor, world

WARM_UP_CYCLES = 60
ROUNDS = 8
SETTLE_S = 0.5
BEST = 16
"""Nodes that the extender answers with under scored placement."""


def measure_calls(
    size: Size, options: list[str], *, names: int, cycles: int, scored: bool, against: Any = None
) -> dict[str, Any]:
    """Latencies in milliseconds per call.

    Raises:
        AnswerError: the extender gave an answer that no working one gives.
        TimeoutError: a process did not get ready.
    """
    placement = ["--placement", "scored"] if scored else ["--placement", "exact"]
    with world(size, [*options, *placement], against) as here, floor(BEST if scored else 1) as ground:
        asked = here.names[:names] if names else here.names
        run = Cycles(here.subject.caller(), asked, here.subject.pid)
        run.run(_created(here, "warm", WARM_UP_CYCLES))
        run.forget()
        rounds: list[tuple[Figures, dict[str, Figures]]] = []
        total = Cycles(run.caller, asked, run.pid)
        for number in range(ROUNDS):
            pods = _created(here, f"load{number}", max(10, cycles // ROUNDS))
            ground_figures = measure_floor(ground.caller(), asked, len(pods), ground.pid)
            run.run(pods)
            rounds.append((ground_figures, run.report()))
            _add(total, run)
            run.forget()
        report = {verb: figures.to_json() for verb, figures in total.report().items()}
        if "prioritize" not in report and here.subject.pid:
            report["prioritize"] = _prioritize(here, asked).to_json()
        grounds = [figures for figures, _ in rounds]
        lower = median(figures.p50_ms for figures in grounds)
        return {
            "nodes": size.nodes,
            "gpus": size.gpus,
            "names": len(asked),
            "placement": "scored" if scored else "exact",
            **report,
            "floor": replace(
                sorted(grounds, key=lambda one: one.p50_ms)[len(grounds) // 2],
                p50_ms=lower,
                p99_ms=median(figures.p99_ms for figures in grounds),
                cpu_ms=sum(figures.cpu_ms for figures in grounds) / len(grounds),
            ).to_json(),
            "ratio": round(median(figures["filter"].p50_ms / ground.p50_ms for ground, figures in rounds), 3),
            "bind_api_p50_ms": round(_binding_alone_ms(here), 3),
            "rss_mib": round(rss_mib(here.subject.pid), 1) if here.subject.pid else None,
        }


def _created(here: World, prefix: str, count: int) -> list[dict[str, Any]]:
    pods = here.director.create(prefix, count)
    # The watch brings the new pods; their decoding is not what is measured here.
    time.sleep(SETTLE_S)
    return pods


def _add(total: Cycles, run: Cycles) -> None:
    for verb, seconds in run.seconds.items():
        total.seconds[verb].extend(seconds)
        total.sizes[verb] += run.sizes[verb]
        total.cpu_s[verb] += run.cpu_s[verb]


def _prioritize(here: World, asked: list[str]) -> Figures:
    """Scores of the nodes that scored placement would ask about, for pods that hold nothing yet."""
    run = Cycles(here.subject.caller(), asked, here.subject.pid)
    for pod in _created(here, "score", 100):
        run.timed("prioritize", filter_body(pod, asked[:BEST]))
    return run.report()["prioritize"]


def _binding_alone_ms(here: World) -> float:
    """What the API server takes for a Binding, asked directly: the extender's part is the rest."""
    connection = HTTPConnection("127.0.0.1", here.director.port, timeout=30)
    seconds: list[float] = []
    for pod in _created(here, "alone", 60):
        name = pod["metadata"]["name"]
        body = json.dumps({"metadata": {"name": name, "annotations": {}}, "target": {"name": here.names[-1]}})
        started_s = time.perf_counter()
        connection.request("POST", f"/api/v1/namespaces/default/pods/{name}/binding", body.encode())
        connection.getresponse().read()
        seconds.append(time.perf_counter() - started_s)
    connection.close()
    return median(seconds) * 1000
