"""Runs one load on the servers of the GPU: how many of them serve what, how often, and beside whom."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.gpu_day.children import Child, ChildError
from bench.latency.percentiles import Delays, delays

KINDS = ("launch", "gpu")
STEADY_SHARE = 0.3
"""Of what one server alone can do back to back: a load at which servers rarely wait for themselves."""

_LEAD_S = 0.2
"""Until all servers have read their command."""

_ANSWER_S = 40.0


@dataclass(frozen=True, slots=True)
class ServerLoad:
    """What is asked of the servers.

    Args:
        servers: how many serve at the same time.
        kind: `launch` or `gpu`, as `workloads.serving.InferenceModel` has it.
        is_steady: at random times, at a share of what one alone can do; otherwise back to back.
        has_neighbour: the last server fills the GPU meanwhile instead of serving.
    """

    servers: int
    kind: str
    is_steady: bool = False
    has_neighbour: bool = False


@dataclass(frozen=True, slots=True)
class Served:
    """What came of one load in one mode.

    Args:
        mode: how the servers share the GPU.
        load: what was asked.
        rate: requests a second of each server; None back to back.
        requests: of all servers.
        requests_per_s: of all.
        tokens_per_s: of all.
        latency: of a request; None without any.
        token_p99_s: of the server whose tokens were the slowest; None without any.
        error: why there is no result; empty when there is one.
    """

    mode: str
    load: ServerLoad
    rate: float | None = None
    requests: int = 0
    requests_per_s: float = 0.0
    tokens_per_s: float = 0.0
    latency: Delays | None = None
    token_p99_s: float | None = None
    error: str = ""


def all_loads(counts: Iterable[int]) -> tuple[ServerLoad, ...]:
    """Every load of a mode, with these numbers of servers."""
    sizes = tuple(counts)
    found: list[ServerLoad] = []
    for size in sizes:
        found += [ServerLoad(size, kind) for kind in KINDS]
        found.append(ServerLoad(size, "launch", is_steady=True))
    return (*found, *_beside(sizes[-1]))


def percent_loads(servers: int) -> tuple[ServerLoad, ...]:
    """The loads of servers that have a part of the GPU each."""
    return (*(ServerLoad(servers, kind) for kind in KINDS), *_beside(servers))


def _beside(servers: int) -> tuple[ServerLoad, ...]:
    return (ServerLoad(1, "launch", is_steady=True, has_neighbour=True),) if servers > 1 else ()


def alone_rate(runs: Iterable[Served]) -> float | None:
    """Requests a second that the first server alone answered back to back; None when that was not measured."""
    wanted = ServerLoad(1, "launch")
    return next((run.requests_per_s for run in runs if run.load == wanted and run.requests), None)


def run_load(mode: str, load: ServerLoad, servers: Sequence[Child], seconds: float, alone: float | None) -> Served:
    """Let servers serve; they start together.

    Raises:
        ValueError: a steady load, and it is not known what one server alone can do.
    """
    if load.is_steady and alone is None:
        raise ValueError("a steady load needs the rate of a server alone")
    rate = STEADY_SHARE * alone if load.is_steady and alone is not None else None
    at_s = time.time() + _LEAD_S
    if load.has_neighbour:
        servers[-1].send("fill", at=at_s - _LEAD_S / 2, seconds=seconds + _LEAD_S)
    serving = servers[: load.servers]
    for number, server in enumerate(serving):
        server.send("serve", kind=load.kind, at=at_s, seconds=seconds, rate=rate, seed=number)
    try:
        replies = [server.take(seconds + _ANSWER_S) for server in serving]
        if load.has_neighbour:
            servers[-1].take(seconds + _ANSWER_S)
    except ChildError as error:
        return Served(mode, load, rate, error=str(error))
    latencies_s = [value for reply in replies for value in reply["latencies_s"]]
    tokens = [reply["token_p99_s"] for reply in replies if reply["token_p99_s"] is not None]
    return Served(
        mode=mode,
        load=load,
        rate=rate,
        requests=len(latencies_s),
        requests_per_s=sum(len(reply["latencies_s"]) / reply["seconds"] for reply in replies),
        tokens_per_s=sum(reply["tokens"] / reply["seconds"] for reply in replies),
        latency=delays(latencies_s) if latencies_s else None,
        token_p99_s=max(tokens) if tokens else None,
    )
