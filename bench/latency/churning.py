"""Runs many short-lived pods through the shipped state, to see whether memory and filter times stay flat.

A day of churn on a large cluster is about a million pods. Each is created, filtered, bound, shown as bound and deleted,
as the watch and kube-scheduler would do it, without the HTTP and the JSON in between.

A warm-up runs until the cluster is as full as it should be and every cache of a fixed size is full (the largest, of
decisions, holds `MAX_REMEMBERED` pods): memory that grows after that would go on growing.
"""

import os
import random
import time
from collections import deque
from datetime import UTC, datetime
from typing import Any

from bench.latency.load import GPU, Load, Pods, Population, encoded
from bench.latency.percentiles import Histogram, rss_mib
from bench.latency.world import Size
from extender.contract.names import Names
from extender.contract.units import DEFAULT_UNIT_MIB
from extender.decoding.decoder import Decoder
from extender.scheduling.learning.estimating import REESTIMATE_PODS
from extender.scheduling.ledger.events import NodesListed, PodChanged, PodDeleted, PodRecord
from extender.scheduling.pods.request import ContainerRequest, PodRequest, pod_request
from extender.scheduling.policies.table import DEFAULT_POLICY
from extender.server.learning import Learning
from extender.server.record.decisions import MAX_REMEMBERED, Decisions
from extender.server.state.outcomes import Assumed, Passed
from extender.server.state.state import State

_PARTS = 10
_KINDS = 60
_BUSY_SHARE = 0.6
"""Part of the cluster's memory that is in use once the churn is steady."""


class ChurnError(AssertionError):
    """A pod that must fit did not, or the ledger is not empty at the end."""


def measure_churn(size: Size, *, lives: int, policy: str) -> dict[str, Any]:
    """Memory and filter times of each tenth of the pods, after a warm-up; in wall-clock and in processor time.

    The warm-up is shorter than the memories need when it would be more than a fifth of the lives.

    Raises:
        ChurnError: the ledger went wrong on the way.
    """
    churn = _Churn(size, policy or DEFAULT_POLICY)
    warm_up = churn.steady + min(MAX_REMEMBERED, lives // 5)
    churn.run(warm_up)
    parts: list[dict[str, float]] = []
    for _ in range(_PARTS):
        churn.filters.clear()
        churn.filters_cpu.clear()
        cpu_s = time.process_time()
        churn.run(lives // _PARTS)
        cpu_s = time.process_time() - cpu_s
        parts.append(
            {
                "rss_mib": round(rss_mib(os.getpid()), 1),
                "p50_ms": churn.filters.percentile_ms(0.5),
                "p99_ms": churn.filters.percentile_ms(0.99),
                "cpu_p50_ms": churn.filters_cpu.percentile_ms(0.5),
                "cpu_p99_ms": churn.filters_cpu.percentile_ms(0.99),
                "cpu_us_per_life": round(cpu_s / (lives // _PARTS) * 1e6, 1),
            }
        )
    churn.end()
    return {
        "nodes": size.nodes,
        "lives": lives,
        "warm_up_lives": warm_up,
        "kinds": churn.kinds,
        "rss_growth": round(parts[-1]["rss_mib"] / parts[0]["rss_mib"], 3),
        "p99_growth": round(parts[-1]["p99_ms"] / parts[0]["p99_ms"], 3),
        "cpu_p99_growth": round(parts[-1]["cpu_p99_ms"] / parts[0]["cpu_p99_ms"], 3),
        "parts": parts,
    }


class _Churn:
    def __init__(self, size: Size, policy: str) -> None:
        decoder = Decoder(Names(), DEFAULT_UNIT_MIB)
        self._state = State(
            unit_mib=DEFAULT_UNIT_MIB,
            policy=policy,
            answers=1,
            hold_s=30.0,
            clock=time.monotonic,
            view_problem=lambda: None,
            decisions=Decisions(lambda: datetime.now(UTC)),
        )
        self._learning = Learning(self._state)
        self._draws = random.Random(1)
        self._names = size.names()
        self._version = size.nodes
        load = Load(size.nodes, size.gpus)
        nodes = tuple(decoder.node(encoded(body)) for body in Population(load, 0, Pods()).nodes())
        self._state.apply(NodesListed(nodes, self._version))
        self._learning.round(force=True)
        self._requests = [self._request() for _ in range(_KINDS)]
        units = size.nodes * size.gpus * (GPU.memory_mib // DEFAULT_UNIT_MIB)
        mean = sum(request.memory_units for request in self._requests) / _KINDS
        self.steady = int(_BUSY_SHARE * units / mean)
        self._alive: deque[str] = deque()
        # Lists of a hundred thousand timings would take more memory than the state grows by, and leave holes in it.
        self.filters, self.filters_cpu = Histogram(), Histogram()
        self._born = 0

    @property
    def kinds(self) -> int:
        """Different requests among those that are drawn from."""
        return len(set(self._requests))

    def _request(self) -> PodRequest:
        units, cpu_milli = self._draws.choice((4, 8, 10, 16, 24, 40)), 50 * self._draws.randint(1, 40)
        return pod_request((ContainerRequest("main", memory_units=units),), cpu_milli=cpu_milli)

    def run(self, lives: int) -> None:
        """Add `lives` pods; once the cluster is full enough, remove one for each."""
        for _ in range(lives):
            self._come()
            if len(self._alive) > self.steady:
                self._go()

    def _come(self) -> None:
        state, request = self._state, self._draws.choice(self._requests)
        self._born += 1
        self._version += 1
        uid = f"pod-{self._born}"
        pod = PodRecord(uid, "default", uid, self._version, request=request, cpu_milli=request.cpu_milli)
        state.apply(PodChanged(pod))
        self._learning.observe((pod,))
        started_s, started_cpu_s = time.perf_counter(), time.thread_time()
        outcome = state.filter(pod, self._names)
        self.filters_cpu.add(time.thread_time() - started_cpu_s)
        self.filters.add(time.perf_counter() - started_s)
        if not isinstance(outcome, Passed) or outcome.plan is None:
            raise ChurnError(f"{uid} of {request.memory_units} units: {outcome}")
        start = state.begin_bind(uid, outcome.plan.node)
        if not isinstance(start, Assumed):
            raise ChurnError(f"{uid}: {start}")
        self._version += 1
        bound = PodRecord(
            uid,
            "default",
            uid,
            self._version,
            node=outcome.plan.node,
            request=request,
            footprint=start.plan.footprint,
            cpu_milli=request.cpu_milli,
        )
        state.apply(PodChanged(bound))
        state.decisions.bound(bound, state.policy.name, start.plan)
        self._alive.append(uid)
        if self._born % REESTIMATE_PODS == 0:
            self._learning.round(force=False)

    def _go(self) -> None:
        # Old and young pods go, so that the rest lies scattered, as on a real cluster.
        if self._draws.random() < 0.5:
            self._alive.rotate(self._draws.randint(1, 50))
        self._state.apply(PodDeleted(self._alive.popleft()))

    def end(self) -> None:
        """Remove all pods, and check that nothing is left.

        Raises:
            ChurnError: something is.
        """
        while self._alive:
            self._go()
        held = sum(gpu.used for node in self._state.snapshot().nodes.values() for gpu in node.gpus)
        if held:
            raise ChurnError(f"{held} units are charged to pods that are gone")
