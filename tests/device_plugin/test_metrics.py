"""The metrics of one plugin; what Prometheus sees of them is tested with the endpoints."""

from device_plugin.metrics import PluginMetrics
from device_plugin.reporting.gpu_metrics import PluginState
from extender.contract.names import Names


def test_before_the_first_sample_there_are_no_gpus() -> None:
    """Zero, not absent."""
    found = PluginMetrics(Names(), [PluginState(Names(), lambda: None, lambda: 0.0, lambda: {"pod": 2}, lambda: True)])
    assert found.registry.get_sample_value("gpupack_plugin_gpus", {"health": "healthy"}) == 0.0


def test_unreadable_objects_are_counted_by_kind() -> None:
    """An admin sees that the node's view lacks something."""
    found = PluginMetrics(Names(), [PluginState(Names(), lambda: None, lambda: 0.0, lambda: {"pod": 2}, lambda: True)])
    assert found.registry.get_sample_value("gpupack_plugin_unreadable_objects_total", {"kind": "pod"}) == 2.0


def test_each_plugin_has_a_registry_of_its_own() -> None:
    """Several run in one process."""
    first, second = (PluginMetrics(Names()) for _ in range(2))
    assert first.registry is not second.registry
