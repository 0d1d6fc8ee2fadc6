"""Shows for Prometheus whose calls into the driver do not return, and whether the driver is used at all."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector


class DriverCollector(Collector):
    """The series of the plugin's use of the driver.

    Args:
        stalled_s: the seconds for which a call of each caller has been overdue.
        is_released: whether the driver is not used, so that its GPUs can be reset.
    """

    def __init__(self, stalled_s: Callable[[], Mapping[str, float]], is_released: Callable[[], bool]) -> None:
        self._stalled_s = stalled_s
        self._is_released = is_released

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
        yield GaugeMetricFamily(
            "gpupack_plugin_driver_released",
            "1 while NVML is closed because every GPU is cordoned and no pod has one.",
            value=float(self._is_released()),
        )
