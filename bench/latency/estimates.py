"""Measures filter during a re-estimation of the weights, to see what the estimate adds to the slowest calls.

A machine has slow calls of its own, and new pods are work even without an estimate; so each round is measured twice,
with as many calls and new pods: once with an estimate and once without.
"""

import re
import threading
import time
import urllib.request
from statistics import median
from typing import Any

from bench.latency.driving import Bodies, Caller
from bench.latency.percentiles import percentile
from bench.latency.world import Size, Subject, World, world
from extender.scheduling.learning.estimating import REESTIMATE_PODS

_ROUNDS = 12
_NEW_PODS = REESTIMATE_PODS // 2
"""New pods at a time: with every second lot of them comes an estimate."""

_CALLS = 250
_SETTLE_S = 0.5
_TIMEOUT_S = 30.0
_LEARNED = re.compile(r"^gpupack_extender_learned_pods (\S+)$", re.MULTILINE)


def measure_learning(size: Size, options: list[str]) -> dict[str, Any]:
    """Slowest filter calls of each round, while 100 pods of 10 new kinds come: with an estimate, and without.

    `delay_ms` is the median over the rounds of how much slower the slowest call during an estimate was.

    Raises:
        TimeoutError: no estimate came into force.
        RuntimeError: one came where none was due.
    """
    beside_s: list[list[float]] = []
    quiet_s: list[list[float]] = []
    with world(size, options) as here:
        probes = _Probes(here)
        known = size.nodes * size.per_node + probes.count
        first = -(known + _NEW_PODS) % REESTIMATE_PODS
        here.director.create("first", first)
        time.sleep(_SETTLE_S)
        probes.seconds(4 * _CALLS)
        for number in range(_ROUNDS):
            due_pods = known + first + _NEW_PODS + number * REESTIMATE_PODS
            beside_s.append(_while_pods_come(here, probes, 2 * number, due_pods))
            quiet_s.append(_while_pods_come(here, probes, 2 * number + 1, due_pods, least=len(beside_s[-1])))
    delays = [max(beside) - max(quiet) for beside, quiet in zip(beside_s, quiet_s, strict=True)]
    return {
        "nodes": size.nodes,
        "calls": sum(map(len, beside_s)),
        "beside": _described(beside_s),
        "quiet": _described(quiet_s),
        "delay_ms": round(median(delays) * 1000, 3),
        "delays_ms": [round(delay * 1000, 2) for delay in sorted(delays)],
    }


class _Probes:
    """Filter calls for the same few pods, whose kinds are known, over and over."""

    def __init__(self, here: World) -> None:
        self._caller: Caller = here.subject.caller()
        bodies = Bodies(here.names)
        self._calls = [bodies.filter(pod) for pod in here.director.create("probe", 24)]
        self.count = len(self._calls)
        self._next = 0

    def seconds(self, calls: int) -> list[float]:
        """Seconds of each of `calls` calls."""
        found = []
        for _ in range(calls):
            found.append(self._caller.post("filter", self._calls[self._next % len(self._calls)])[0])
            self._next += 1
        return found


def _while_pods_come(here: World, probes: _Probes, number: int, due_pods: int, *, least: int = _CALLS) -> list[float]:
    """Seconds of at least `least` calls while new kinds of pods come, until an estimate rests on `due_pods`."""
    how = {"units": [1 + (7 * number + 3 * kind) % 40 for kind in range(10)], "cpu_milli": 1000 + 50 * number}
    order = {**how, "told": False}  # reading the pods would hold the GIL that the calls here need
    arrivals = threading.Thread(target=here.director.create, args=(f"new{number}", _NEW_PODS), kwargs=order)
    arrivals.start()
    seconds = probes.seconds(least)
    deadline_s = time.monotonic() + _TIMEOUT_S
    while _learned_pods(here.subject) < due_pods:
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"the estimate with {due_pods} pods has not come within {_TIMEOUT_S:g} s")
        seconds += probes.seconds(_CALLS)
    arrivals.join(_TIMEOUT_S)
    time.sleep(_SETTLE_S)
    if (learned := _learned_pods(here.subject)) != due_pods:
        raise RuntimeError(f"an estimate came with {learned:g} pods, expected the one with {due_pods}")
    return seconds


def _learned_pods(subject: Subject) -> float:
    with urllib.request.urlopen(f"http://{subject.host}:{subject.port}/metrics", timeout=_TIMEOUT_S) as answer:
        found = _LEARNED.search(answer.read().decode())
    if found is None:
        raise TimeoutError("the extender does not tell how many pods it has learned from")
    return float(found[1])


def _described(rounds: list[list[float]]) -> dict[str, Any]:
    every = sorted(second for calls in rounds for second in calls)
    return {
        "median_ms": round(median(every) * 1000, 3),
        "p999_ms": round(percentile(every, 0.999) * 1000, 3),
        "slowest_ms": [round(max(calls) * 1000, 2) for calls in rounds],
    }
