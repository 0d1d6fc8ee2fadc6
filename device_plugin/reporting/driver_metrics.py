"""Shows for Prometheus whose calls into the driver do not return."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector


class DriverCollector(Collector):
    """The series of the plugin's calls into the driver; `stalled_s` has the seconds that a call of each is overdue."""

    def __init__(self, stalled_s: Callable[[], Mapping[str, float]]) -> None:
        self._stalled_s = stalled_s

    def collect(self) -> Iterator[Metric]:
        """The series as of now."""
        family = GaugeMetricFamily(
            "gpupack_plugin_driver_stalled_seconds",
            "Time since a call into the driver began that has not returned in time; 0 when there is none.",
            labels=["caller"],
        )
        for caller, stalled_s in self._stalled_s().items():
            family.add_metric([caller], stalled_s)
        yield family
