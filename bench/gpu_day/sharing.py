"""Compares servers that share the GPU with one that has it alone: throughput and the slowest requests."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from bench.gpu_day.stages.colocate import TIME_SLICED
from bench.gpu_day.stages.loads import Served, ServerLoad


@dataclass(frozen=True, slots=True)
class SharingRow:
    """One run beside the same load on one server alone, time-sliced.

    Args:
        load: in words.
        servers: how many served.
        mode: how they shared the GPU.
        tokens_per_s: of all.
        times_alone: their throughput, as a multiple of one alone.
        p99_s: of a request.
        p99_times_alone: the same as a multiple of one alone.
        requests: how many the percentile is of.
    """

    load: str
    servers: int
    mode: str
    tokens_per_s: float
    times_alone: float
    p99_s: float
    p99_times_alone: float
    requests: int


def sharing(runs: Iterable[Served]) -> tuple[SharingRow, ...]:
    """A row for each run that can be compared, ordered by load, number of servers and mode as they were run."""
    known = [run for run in runs if run.latency is not None and not run.error]
    alone = {run.load: run for run in known if run.mode == TIME_SLICED and run.load.servers == 1}
    rows = []
    for run in known:
        base = alone.get(replace(run.load, servers=1, has_neighbour=False))
        if base is None or base.latency is None or run.latency is None:
            continue
        rows.append(
            SharingRow(
                load=words(run.load),
                servers=run.load.servers,
                mode=run.mode,
                tokens_per_s=run.tokens_per_s,
                times_alone=run.tokens_per_s / base.tokens_per_s,
                p99_s=run.latency.p99_s,
                p99_times_alone=run.latency.p99_s / base.latency.p99_s,
                requests=run.requests,
            )
        )
    order = list(dict.fromkeys(row.load for row in rows))
    return tuple(sorted(rows, key=lambda row: (order.index(row.load), row.servers)))


def words(load: ServerLoad) -> str:
    """A load for people, without its number of servers."""
    found = "steady" if load.is_steady else load.kind
    return f"{found}, beside a full GPU" if load.has_neighbour else found


def sharing_table(rows: Iterable[SharingRow]) -> str:
    """For people, as Markdown."""
    lines = [
        f"| {row.load} | {row.servers} | {row.mode} | {row.tokens_per_s:.0f} | {row.times_alone:.2f} "
        f"| {1000 * row.p99_s:.1f} | {row.p99_times_alone:.2f} | {row.requests} |"
        for row in rows
    ]
    head = "| load | servers | mode | tokens/s | times one server alone | p99 ms | times one server alone | requests |"
    return "\n".join([head, "|---|---|---|---|---|---|---|---|", *lines])
