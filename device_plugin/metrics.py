"""Counts what the plugin does for Prometheus, in a registry of its own so that several plugins fit one process."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.registry import Collector

from device_plugin.settings import Resource
from extender.contract.names import Names

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class PluginMetrics:
    """The metrics of one plugin; `collectors` are read at each scrape, besides what is counted here."""

    def __init__(self, names: Names, collectors: Iterable[Collector] = ()) -> None:
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
        self._refused_starts = Counter(
            "gpupack_plugin_refused_starts",
            "PreStartContainer calls refused, because the pod is not known or has devices that it did not ask for.",
            ["resource"],
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
        for collector in collectors:
            self.registry.register(collector)

    def allocated(self, resource: Resource, outcome: str) -> None:
        """Count an Allocate."""
        self._allocations.labels(resource.name_in(self._names), outcome).inc()

    def preferred(self, resource: Resource, *, planned: bool) -> None:
        """Count a GetPreferredAllocation."""
        self._preferences.labels(resource.name_in(self._names), "planned" if planned else "other").inc()

    def refused_start(self, resource: Resource) -> None:
        """Count a container that must not start."""
        self._refused_starts.labels(resource.name_in(self._names)).inc()

    def registered(self, resource: Resource) -> None:
        """Count a registration."""
        self._registrations.labels(resource.name_in(self._names)).inc()

    def answered(self, resource: Resource, call: str, seconds: float) -> None:
        """Record how long an answer took, in seconds."""
        self._seconds.labels(resource.name_in(self._names), call).observe(seconds)
