"""Serves requests from a model on command and times each: back to back, or at random times as users come."""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from bench.latency.percentiles import delays

STEPS = ("context", "library", "blas", "model", "warm")
"""What a server loads, in order, so that the memory of each can be seen from outside."""


class InferenceModel(Protocol):
    """Something that answers requests.

    `kind` is `launch`, a batch of one, where launching small kernels is most of the work, or `gpu`, a larger batch,
    where the GPU is.
    """

    def step(self, name: str) -> None:
        """Load one of `STEPS`."""
        ...

    def request(self, kind: str) -> list[float]:
        """Answer one request; the seconds that each of its tokens took."""
        ...

    def batch(self, kind: str) -> int:
        """How many answers one request makes at the same time."""
        ...

    def fill(self, until_s: float) -> None:
        """Keep the GPU as busy as possible until a Unix time."""
        ...


@dataclass(frozen=True, slots=True)
class InferenceServer:
    """Turns commands into calls of one model."""

    model: InferenceModel

    def step(self, name: str) -> dict[str, Any]:
        """Load one part; `seconds` is how long it took."""
        began_s = time.perf_counter()
        self.model.step(name)
        return {"seconds": time.perf_counter() - began_s}

    def fill(self, at: float, seconds: float) -> dict[str, Any]:
        """Keep the GPU busy from a Unix time on."""
        _pause_until(at)
        self.model.fill(at + seconds)
        return {}

    def serve(self, kind: str, at: float, seconds: float, rate: float | None, seed: int) -> dict[str, Any]:
        """Serve from a Unix time on: back to back, or at Poisson times with `rate` requests a second.

        With a rate, a request's latency counts from when it was due, so that waiting for the one before counts.
        """
        latencies_s: list[float] = []
        tokens_s: list[float] = []
        _pause_until(at)
        began_s = time.perf_counter()
        for due_s in _due(seconds, rate, seed):
            tokens_s += self.model.request(kind)
            latencies_s.append(time.perf_counter() - began_s - due_s)
        took_s = time.perf_counter() - began_s
        return {
            "seconds": took_s,
            "tokens": len(tokens_s) * self.model.batch(kind),
            "latencies_s": latencies_s,
            "token_p99_s": delays(tokens_s).p99_s if tokens_s else None,
        }


def _due(seconds: float, rate: float | None, seed: int) -> Iterator[float]:
    """When requests are due, in seconds after the start, each not before its time."""
    began_s = time.perf_counter()
    if rate is None:
        while (passed_s := time.perf_counter() - began_s) < seconds:
            yield passed_s
        return
    for due_s in arrivals(rate, seconds, seed):
        time.sleep(max(0.0, due_s - (time.perf_counter() - began_s)))
        yield due_s


def _pause_until(unix_s: float) -> None:
    time.sleep(max(0.0, unix_s - time.time()))


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Poisson times within so many seconds, with `rate` of them a second."""
    dice = random.Random(seed)
    found: list[float] = []
    at_s = dice.expovariate(rate)
    while at_s < seconds:
        found.append(at_s)
        at_s += dice.expovariate(rate)
    return found
