"""Measures the plugin on a node under load: its cost at rest, its answers, and how soon it reports an XID."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from bench.latency.percentiles import Delays, cpu_seconds, delays, rss_mib
from bench.node.stage import MEMORY, NodeStage, measured
from bench.simulated.kubelet.plugin_endpoint import PluginEndpoint

SCRAPE_INTERVAL_S = 15.0
_TURN_S = 1.0
_CALL_TIMEOUT_S = 30.0
_XID_TIMEOUT_S = 30.0
_CRITICAL_XID = 79


@dataclass(frozen=True, slots=True)
class Cost:
    """What the plugin used over `seconds`: share of one core, memory, NVML calls, writes on the Node, scrapes.

    `containers_measured` counts the containers whose memory in use the last scrape reported.
    """

    seconds: float
    cpu_ratio: float
    rss_mib: float
    nvml_calls_per_second: float
    node_writes: int
    scrapes: int
    scrape_seconds: float
    scrape_bytes: int
    containers_measured: int


def measure_cost(stage: NodeStage, seconds: float) -> Cost:
    """Let the pods work for `seconds`, scrape as Prometheus does, and measure what the plugin used."""
    started_s, cpu_s = time.monotonic(), cpu_seconds(stage.pid)
    calls, writes = stage.driver.state.calls, stage.node_writes()
    scrapes: list[float] = []
    exposition, turn = b"", 0
    while (passed_s := time.monotonic() - started_s) < seconds:
        if passed_s >= SCRAPE_INTERVAL_S * len(scrapes):
            asked_s = time.monotonic()
            exposition = stage.scrape()
            scrapes.append(time.monotonic() - asked_s)
        turn += 1
        stage.work(turn)
        time.sleep(_TURN_S)
    return Cost(
        seconds=passed_s,
        cpu_ratio=(cpu_seconds(stage.pid) - cpu_s) / passed_s,
        rss_mib=rss_mib(stage.pid),
        nvml_calls_per_second=(stage.driver.state.calls - calls) / passed_s,
        node_writes=stage.node_writes() - writes,
        scrapes=len(scrapes),
        scrape_seconds=max(scrapes),
        scrape_bytes=len(exposition),
        containers_measured=measured(exposition),
    )


class Listening:
    """A second listener to the plugin's list of devices, besides the kubelet."""

    def __init__(self, stage: NodeStage) -> None:
        self._changed = threading.Condition()
        self.healthy: frozenset[str] = frozenset()
        self.unhealthy: frozenset[str] = frozenset()
        self.endpoint = PluginEndpoint(MEMORY, stage.socket, self._take, lambda _endpoint: None)
        self.endpoint.connect()

    def wait(self, condition: Callable[[], bool], timeout_s: float) -> float:
        """The time at which the devices were as wanted.

        Raises:
            TimeoutError: they were not in time.
        """
        with self._changed:
            if not self._changed.wait_for(condition, timeout_s):
                raise TimeoutError(f"the plugin did not tell the kubelet within {timeout_s} s")
            return time.monotonic()

    def close(self) -> None:
        """Stop listening."""
        self.endpoint.close()

    def _take(self, _endpoint: PluginEndpoint, healthy: list[str], unhealthy: list[str]) -> None:
        with self._changed:
            self.healthy, self.unhealthy = frozenset(healthy), frozenset(unhealthy)
            self._changed.notify_all()


def measure_calls(stage: NodeStage, listening: Listening, count: int, pause_s: float) -> tuple[Delays, Delays]:
    """Time GetPreferredAllocation, with all devices as available, and Allocate of what it chose; one after the other.

    The pause keeps the account of fresh Allocates as short as a kubelet keeps it.
    """
    listening.wait(lambda: len(listening.healthy) == stage.load.gpus * stage.load.units, _CALL_TIMEOUT_S)
    ids = sorted(listening.healthy)
    preferred_s, allocated_s = [], []
    for _ in range(count):
        started_s = time.monotonic()
        chosen = listening.endpoint.preferred(ids, (), stage.load.share)
        preferred_s.append(time.monotonic() - started_s)
        started_s = time.monotonic()
        listening.endpoint.allocate(chosen)
        allocated_s.append(time.monotonic() - started_s)
        time.sleep(pause_s)
    return delays(preferred_s), delays(allocated_s)


def measure_xids(stage: NodeStage, listening: Listening, pause_s: float) -> Delays:
    """Let each GPU in turn report a critical XID, and time until the kubelet knows that its devices are unhealthy.

    Those that pods have stay healthy, so one of them is enough.
    """
    listening.wait(lambda: bool(listening.healthy), _CALL_TIMEOUT_S)
    found = []
    for index in range(stage.load.gpus):
        devices = f"{stage.uuid(index)}-"
        started_s = time.monotonic()
        stage.driver.raise_xid(_CRITICAL_XID, index)
        told_s = listening.wait(partial(_has_unhealthy, listening, devices), _XID_TIMEOUT_S)
        found.append(told_s - started_s)
        time.sleep(pause_s)
    return delays(found)


def _has_unhealthy(listening: Listening, devices: str) -> bool:
    return any(device.startswith(devices) for device in listening.unhealthy)
