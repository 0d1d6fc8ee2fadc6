"""From what the plugin does to Prometheus metrics, in a registry of its own so that several plugins fit one process."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from device_plugin.gpus.gpu import Gpus
from device_plugin.metrics_gpus import GpuCollector, NodeView
from device_plugin.settings import Resource
from extender.contract.names import Names
from extender.contract.units import CORE_PERCENT

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class PluginMetrics:
    """The metrics of one plugin.

    Args:
        gpus: the newest GPUs, None before the first sample.
        reconcile_lag_s: seconds since podresources and all annotations last agreed.
        view: what there is to see of GPUs and containers; None shows the GPUs alone.
    """

    def __init__(
        self,
        names: Names,
        gpus: Callable[[], Gpus | None],
        reconcile_lag_s: Callable[[], float],
        view: NodeView | None = None,
    ) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._allocations = Counter(
            "gpupack_plugin_allocations",
            "Allocate calls by outcome: given, or the kind of refusal.",
            ["resource", "outcome"],
            registry=self.registry,
        )
        self._preferences = Counter(
            "gpupack_plugin_preferences",
            "GetPreferredAllocation calls by outcome: planned, or another choice.",
            ["resource", "outcome"],
            registry=self.registry,
        )
        self._registrations = Counter(
            "gpupack_plugin_registrations",
            "Registrations with the kubelet that it accepted.",
            ["resource"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "gpupack_plugin_call_duration_seconds",
            "Time to answer the kubelet.",
            ["resource", "call"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._names = names
        self.registry.register(_State(names, gpus, reconcile_lag_s))
        self.registry.register(GpuCollector(view or NodeView(gpus=gpus)))

    def allocated(self, resource: Resource, outcome: str) -> None:
        """Count an Allocate."""
        self._allocations.labels(resource.name_in(self._names), outcome).inc()

    def preferred(self, resource: Resource, *, planned: bool) -> None:
        """Count a GetPreferredAllocation."""
        self._preferences.labels(resource.name_in(self._names), "planned" if planned else "other").inc()

    def registered(self, resource: Resource) -> None:
        """Count a registration."""
        self._registrations.labels(resource.name_in(self._names)).inc()

    def answered(self, resource: Resource, call: str, seconds: float) -> None:
        """Note how long an answer took."""
        self._seconds.labels(resource.name_in(self._names), call).observe(seconds)


class _State(Collector):
    """What is read when Prometheus asks."""

    def __init__(self, names: Names, gpus: Callable[[], Gpus | None], reconcile_lag_s: Callable[[], float]) -> None:
        self._names = names
        self._gpus = gpus
        self._reconcile_lag_s = reconcile_lag_s

    def collect(self) -> Iterator[Metric]:
        """The gauges of this moment."""
        gpus = self._gpus()
        found = list(gpus) if gpus is not None else []
        count = GaugeMetricFamily("gpupack_plugin_gpus", "GPUs of the node by health.", labels=["health"])
        for health in ("healthy", "unhealthy"):
            count.add_metric([health], sum(sample.healthy == (health == "healthy") for sample in found))
        yield count
        units = GaugeMetricFamily(
            "gpupack_plugin_advertised_devices", "Healthy devices told to the kubelet.", labels=["resource"]
        )
        healthy = [sample for sample in found if sample.healthy]
        memory = 0 if gpus is None else sum(gpus.units(sample.uuid) for sample in healthy)
        units.add_metric([self._names.memory_resource], memory)
        units.add_metric([self._names.gpu_resource], len(healthy))
        units.add_metric([self._names.core_resource], CORE_PERCENT * len(healthy))
        yield units
        yield GaugeMetricFamily(
            "gpupack_plugin_reconcile_lag_seconds",
            "Time since all pods' annotations last agreed with the kubelet.",
            value=self._reconcile_lag_s(),
        )
