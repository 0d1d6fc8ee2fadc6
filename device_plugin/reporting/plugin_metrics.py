"""Exports the device plugin's own state to Prometheus: what it offers, and whether it keeps up with the cluster."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from device_plugin.gpus.gpu import Gpus, GpuSample
from extender.contract.mig import card_of
from extender.contract.names import Names
from extender.contract.units import CORE_PERCENT, GpuUuid


class PluginState(Collector):
    """Gauges of the plugin's own state, read when Prometheus asks.

    Args:
        names: of the installation.
        gpus: the newest GPUs, None before the first sample.
        reconcile_lag_s: seconds since podresources and all annotations last agreed.
        unreadable: API objects that could not be read, by kind.
        writes_failing: whether writes to the API server keep failing.
    """

    def __init__(
        self,
        names: Names,
        gpus: Callable[[], Gpus | None],
        reconcile_lag_s: Callable[[], float],
        unreadable: Callable[[], Mapping[str, int]],
        writes_failing: Callable[[], bool],
    ) -> None:
        self._names = names
        self._writes_failing = writes_failing
        self._gpus = gpus
        self._reconcile_lag_s = reconcile_lag_s
        self._unreadable = unreadable

    def collect(self) -> Iterator[Metric]:
        """The gauges as of now."""
        gpus = self._gpus()
        found = list(gpus) if gpus is not None else []
        cards = _healthy_cards(found)
        count = GaugeMetricFamily("gpupack_plugin_gpus", "Physical GPUs of the node by health.", labels=["health"])
        count.add_metric(["healthy"], sum(cards.values()))
        count.add_metric(["unhealthy"], len(cards) - sum(cards.values()))
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
        unreadable = CounterMetricFamily(
            "gpupack_plugin_unreadable_objects",
            "API objects of this node that could not be read and were left out, each time that one was seen.",
            labels=["kind"],
        )
        for kind, seen in self._unreadable().items():
            unreadable.add_metric([kind], seen)
        yield unreadable
        yield GaugeMetricFamily(
            "gpupack_plugin_writes_failing",
            "1 while the plugin's writes keep failing: no right, no credentials, or an API server in trouble.",
            value=float(self._writes_failing()),
        )


def _healthy_cards(samples: Iterable[GpuSample]) -> dict[GpuUuid, bool]:
    """Which physical GPUs are healthy: one in MIG mode when all of its MIG devices are."""
    found: dict[GpuUuid, bool] = {}
    for sample in samples:
        card = card_of(sample.uuid, sample.mig)
        found[card] = found.get(card, True) and sample.healthy
    return found
