"""Measures start, the first pod of a shape, growth, watch events and parallel binds."""

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from bench.latency.calls import FloorCalls
from bench.latency.load import bind_body
from bench.latency.percentiles import cpu_seconds, figures, peak_rss_mib, rss_mib
from bench.latency.world import Size, World, extender_process, floor, stage, world
from bench.simulated.processes import free_port

_WATCHED_S = 60.0


def measure_start(size: Size, options: list[str]) -> dict[str, Any]:
    """CPU and memory from the start of the process until it is ready, and memory afterwards.

    Raises:
        ProcessError: it did not get ready.
    """
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        with stage(size, port, folder / "kubeconfig", folder):
            started_s = time.monotonic()
            with extender_process(folder / "kubeconfig", folder, options) as extender:
                ready_s, cpu_s = time.monotonic() - started_s, cpu_seconds(extender.pid)
                time.sleep(2.0)
                return {
                    "nodes": size.nodes,
                    "pods": size.nodes * size.per_node,
                    "pod_bytes": size.pod_bytes,
                    "cpu_s": round(cpu_s, 2),
                    "ready_s": round(ready_s, 2),
                    "peak_rss_mib": round(peak_rss_mib(extender.pid), 1),
                    "rss_mib": round(rss_mib(extender.pid), 1),
                }


def measure_shapes(size: Size, options: list[str], *, shapes: int = 40) -> dict[str, Any]:
    """Filter for the first pod of each of many shapes: every pod asks for another amount of CPU."""
    with world(size, options) as here:
        run = here.cycles(here.names)
        run.run(here.create("new", shapes, cpu_milli=1001, cpu_step=1))
        return {"nodes": size.nodes, "diverse": size.diverse, "filter": run.report()["filter"].to_json()}


def measure_growth(sizes: list[Size], options: list[str], *, names: int, cycles: int) -> dict[str, Any]:
    """Filter in clusters of different sizes, with a fixed number of names and with all, and the floor with all."""
    fixed: dict[str, Any] = {}
    every: dict[str, Any] = {}
    grounds: dict[str, Any] = {}
    for size in sizes:
        with world(size, options) as here, floor(1) as ground:
            for rows, asked in ((fixed, here.names[:names]), (every, here.names)):
                run = here.cycles(asked, f"warm{len(asked)}-{rows is every}")
                run.run(here.create(f"load{len(asked)}-{rows is every}", cycles))
                rows[str(size.nodes)] = run.report()["filter"].to_json()
            grounds[str(size.nodes)] = FloorCalls(ground, here.names).make(cycles).report().to_json()
    return {"names": names, "filter": fixed, "filter_all_names": every, "floor_all_names": grounds}


def measure_events(size: Size, options: list[str], *, count: int = 20_000, rate: int = 10_000) -> dict[str, Any]:
    """CPU per watch event, and filter while they come."""
    with world(size, options) as here:
        pid = here.subject.pid
        run = here.cycles(here.names)
        run.run(here.create("quiet", 200))
        quiet = run.report()["filter"]
        run.forget()
        cpu_s = cpu_seconds(pid)
        here.director.play(count, rate)
        _until_played(here, count)
        alone_s = cpu_seconds(pid) - cpu_s
        pods = here.create("busy", 200)
        started_s = time.monotonic()
        here.director.play(count, rate)
        placed = 0
        while here.director.played() < count and placed < len(pods):
            run.run(pods[placed : placed + 10])
            placed += 10
        busy_s = time.monotonic() - started_s
        return {
            "nodes": size.nodes,
            "pod_bytes": size.pod_bytes,
            "events": count,
            "rate": rate,
            "cpu_us": round(alone_s / count * 1e6, 1),
            "filter_quiet": quiet.to_json(),
            "filter_busy": run.report()["filter"].to_json(),
            "busy_s": round(busy_s, 2),
        }


def _until_played(here: World, count: int) -> None:
    """Wait until all events were sent and the extender is idle.

    Raises:
        TimeoutError: it was not idle in time.
    """
    deadline_s = time.monotonic() + _WATCHED_S
    before = -1.0
    while time.monotonic() < deadline_s:
        now = cpu_seconds(here.subject.pid)
        if here.director.played() >= count and now - before < 0.02:
            return
        before = now
        time.sleep(0.3)
    raise TimeoutError(f"{count} events were not taken in within {_WATCHED_S} s")


def measure_binds(size: Size, options: list[str], *, binds: int = 500) -> dict[str, Any]:
    """Binds all at once, each on a connection of its own, and filter calls meanwhile."""
    with world(size, options) as here:
        run = here.cycles(here.names)
        run.run(here.create("quiet", 200))
        quiet = run.report()["filter"]
        pods = here.create("bind", binds)
        placed = [(pod, run.filter(pod)) for pod in pods]
        run.forget()
        others = here.create("beside", binds)
        burst = _Burst(here, [bind_body(pod, node) for pod, node in placed])
        cpu_s = cpu_seconds(here.subject.pid)
        burst.start()
        beside = 0
        while burst.running and beside < len(others):
            run.filter(others[beside])
            beside += 1
        burst.join()
        cpu_s = cpu_seconds(here.subject.pid) - cpu_s
        report = figures(burst.seconds, cpu_s, 0).to_json()
        return {
            "nodes": size.nodes,
            "binds": binds,
            "all_answered_s": round(burst.took_s, 3),
            "longest_s": round(max(burst.seconds), 3),
            "errors": burst.errors,
            "bind": report,
            "filter_quiet": quiet.to_json(),
            "filter_beside": run.report()["filter"].to_json() if beside else None,
        }


class _Burst:
    """Many binds at once, from another process, so that sending them does not slow the filter calls here."""

    def __init__(self, here: World, bodies: list[bytes]) -> None:
        self._here = here
        self._bodies = bodies
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.seconds: list[float] = []
        self.errors = 0
        self.took_s = 0.0

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        order = json.dumps(
            {"port": self._here.subject.port, "bodies": [body.decode() for body in self._bodies]}
        ).encode()
        answer = subprocess.run(
            [sys.executable, "-m", "bench.latency.burst"], input=order, capture_output=True, check=True, timeout=120
        )
        result = json.loads(answer.stdout)
        self.seconds, self.errors, self.took_s = result["seconds"], result["errors"], result["took_s"]
