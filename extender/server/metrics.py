"""Defines the extender's Prometheus metrics: few of them, since the device plugin reports each GPU."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from extender.kube.slices import Slices
from extender.scheduling.avoiding import Failed
from extender.scheduling.fitting.describing import describe_gpu
from extender.scheduling.fitting.reasons import Misfit
from extender.scheduling.nodes.cards import cards_of, is_idle
from extender.server.state.state import State

BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """Metrics of kube-scheduler's calls."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.request_seconds = Histogram(
            "gpupack_extender_request_duration_seconds",
            "Time to answer one call of kube-scheduler, by verb.",
            ["verb"],
            buckets=BUCKETS_S,
            registry=registry,
        )
        self.outcomes = Counter(
            "gpupack_extender_requests",
            "Calls of kube-scheduler by verb and outcome (ok, rejected, unavailable, error, malformed).",
            ["verb", "outcome"],
            registry=registry,
        )


class StateCollector(Collector):
    """Reads the state when it is scraped."""

    def __init__(
        self,
        state: State,
        *,
        view_age_s: Callable[[], float],
        woken: Callable[[], int],
        synced: Callable[[], bool],
        writes_failing: Callable[[], bool],
        unreadable: Callable[[], Mapping[str, int]],
    ) -> None:
        self._state = state
        self._view_age_s = view_age_s
        self._synced = synced
        self._woken = woken
        self._writes_failing = writes_failing
        self._unreadable = unreadable

    def describe(self) -> Iterable[Metric]:
        """Describe nothing: the registry must not collect before the first lists are in."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Read the values."""
        counts = self._state.counts()
        yield _gauge("gpupack_extender_nodes", "Nodes in the ledger.", counts["nodes"])
        pods = GaugeMetricFamily("gpupack_extender_pods", "Pods in the ledger by state.", labels=["state"])
        for state in ("pending", "assumed", "held", "claimed", "waiting"):
            pods.add_metric([state], counts[state])
        pods.add_metric(["known"], counts["pods"])
        yield pods
        yield from self._failures()
        refused = GaugeMetricFamily(
            "gpupack_extender_refused_pods",
            "Waiting pods by why nodes refused them at the latest try; a pod counts once for each reason.",
            labels=["reason"],
        )
        reasons = self._state.decisions.refusals(self._state.waiting())
        for reason in Misfit:
            refused.add_metric([reason.name.lower()], reasons[reason])
        yield refused
        yield _gauge("gpupack_extender_synced", "1 once all nodes and pods were read.", float(self._synced()))
        age_s = self._view_age_s()
        yield _gauge("gpupack_extender_view_age_seconds", "Seconds since the API server was last heard from.", age_s)
        text = "1 while the extender's writes keep failing: no right, no credentials, or an API server in trouble."
        yield _gauge("gpupack_extender_writes_failing", text, float(self._writes_failing()))
        unreadable = CounterMetricFamily(
            "gpupack_extender_unreadable_objects",
            "API objects that could not be read and were left out, each time that one was seen.",
            labels=["kind"],
        )
        for kind, count in self._unreadable().items():
            unreadable.add_metric([kind], count)
        yield unreadable
        woken = CounterMetricFamily("gpupack_extender_pods_woken", "Refused pods that were put back into the queue.")
        woken.add_metric([], self._woken())
        yield woken
        yield from self._gpus()

    def _failures(self) -> Iterable[Metric]:
        failures = CounterMetricFamily(
            "gpupack_extender_node_failures",
            "Pods that failed on the node chosen: refused by the kubelet, ended at once, attempt ended before bind.",
            labels=["how"],
        )
        counts = self._state.failures()
        for how in Failed:
            failures.add_metric([how.value], counts[how])
        yield failures
        text = "Nodes that come last for some pods because of failures in the last minutes."
        yield _gauge("gpupack_extender_avoided_nodes", text, len(self._state.avoided()))

    def _gpus(self) -> Iterable[Metric]:
        units = dict.fromkeys(("capacity", "allocated", "held", "claimed", "outside", "free", "overcommitted"), 0)
        gpus = dict.fromkeys(("healthy", "unhealthy", "idle", "whole"), 0)
        slices = Slices()
        for node in self._state.snapshot().nodes.values():
            slices.breathe()  # tens of thousands of GPUs, while kube-scheduler calls
            for gpu in node.gpus:
                row = describe_gpu(node, gpu)
                for key in units:
                    units[key] += row[key]
            for card in cards_of(node):
                gpus["healthy" if all(part.healthy for part in card) else "unhealthy"] += 1
                gpus["idle"] += is_idle(card)
                gpus["whole"] += all(part.whole for part in card)
        scale = self._state.unit_mib * 1024 * 1024
        memory = GaugeMetricFamily("gpupack_gpu_memory_bytes", "GPU memory of the cluster by state.", labels=["state"])
        for key, value in units.items():
            memory.add_metric([key], value * scale)
        yield memory
        count = GaugeMetricFamily("gpupack_gpus", "Physical GPUs of the cluster by state.", labels=["state"])
        for key, value in gpus.items():
            count.add_metric([key], value)
        yield count


class LearningCollector(Collector):
    """Reads how many pods the estimate of the demand is based on."""

    def __init__(self, considered: Callable[[], int]) -> None:
        self._considered = considered

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Describe nothing, for the same reason."""
        return []

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Read the values."""
        text = "Pods that the latest estimate of the demand is based on."
        yield _gauge("gpupack_extender_learned_pods", text, self._considered())


class RecordCollector(Collector):
    """Reads how many Events and log lines of decisions were written or dropped."""

    def __init__(self, events: Callable[[], Mapping[str, int]], lines_dropped: Callable[[], int]) -> None:
        self._events = events
        self._lines_dropped = lines_dropped

    def describe(self) -> Iterable[Metric]:
        """Describe nothing, for the same reason."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Read the values."""
        events = CounterMetricFamily(
            "gpupack_extender_events",
            "Events on pods by outcome: written, dropped because too many waited, refused by the API server, failed.",
            labels=["outcome"],
        )
        for outcome, count in self._events().items():
            events.add_metric([outcome], count)
        yield events
        dropped = CounterMetricFamily(
            "gpupack_extender_decision_lines_dropped", "Decisions that were not logged because too many waited."
        )
        dropped.add_metric([], self._lines_dropped())
        yield dropped


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)
