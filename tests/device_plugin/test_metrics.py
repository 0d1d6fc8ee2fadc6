"""The metrics of one plugin; what Prometheus sees of them is tested with the endpoints."""

from dataclasses import replace

from device_plugin.gpus.gpu import Gpus, GpuSample
from device_plugin.metrics import PluginMetrics
from device_plugin.reporting.plugin_metrics import PluginState
from extender.contract.mig import MigDevice
from extender.contract.names import Names
from extender.contract.units import GpuUuid
from tests.device_plugin.builders import UNIT_MIB, sample

HEALTH = ("healthy", "unhealthy")


def test_before_the_first_sample_there_are_no_gpus() -> None:
    """Zero, not absent."""
    found = PluginMetrics(Names(), [PluginState(Names(), lambda: None, lambda: 0.0, lambda: {"pod": 2}, lambda: True)])
    assert found.registry.get_sample_value("gpupack_plugin_gpus", {"health": "healthy"}) == 0.0


def test_a_gpu_in_mig_mode_counts_once() -> None:
    """As the extender counts it, and as healthy when all of its MIG devices are."""

    def part(card: str, device: int, *, healthy: bool = True) -> GpuSample:
        mig = MigDevice(GpuUuid(card), device, gi=device + 7, ci=0, profile="1g.5gb", slices=1, of=7)
        return replace(sample(f"MIG-{card}-{device}", healthy=healthy), mig=mig)

    parts = [part("GPU-b", 0), part("GPU-b", 1), part("GPU-c", 0), part("GPU-c", 1, healthy=False)]
    gpus = Gpus(UNIT_MIB, (sample("GPU-a"), *parts))
    found = PluginMetrics(Names(), [PluginState(Names(), lambda: gpus, lambda: 0.0, dict, lambda: True)])
    counts = [found.registry.get_sample_value("gpupack_plugin_gpus", {"health": each}) for each in HEALTH]
    assert counts == [2.0, 1.0]


def test_unreadable_objects_are_counted_by_kind() -> None:
    """An admin sees that the node's view lacks something."""
    found = PluginMetrics(Names(), [PluginState(Names(), lambda: None, lambda: 0.0, lambda: {"pod": 2}, lambda: True)])
    assert found.registry.get_sample_value("gpupack_plugin_unreadable_objects_total", {"kind": "pod"}) == 2.0


def test_each_plugin_has_a_registry_of_its_own() -> None:
    """Several run in one process."""
    first, second = (PluginMetrics(Names()) for _ in range(2))
    assert first.registry is not second.registry
