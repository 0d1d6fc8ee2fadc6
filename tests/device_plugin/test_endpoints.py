"""Probes and Prometheus get their answers over HTTP."""

import socket

import pytest
import urllib3
from prometheus_client.parser import text_string_to_metric_families

from device_plugin.gpus.gpu import Gpus
from device_plugin.metrics import PluginMetrics
from device_plugin.reporting.gpu_metrics import GpuCollector, NodeView
from device_plugin.reporting.plugin_metrics import PluginState
from device_plugin.serving import Endpoints, Health
from device_plugin.settings import Resource, SettingsError
from extender.contract.names import Names
from tests.device_plugin.builders import UNIT_MIB, sample
from tests.fakes.reaching import expected_of_every_address

NODE = Gpus(UNIT_MIB, (sample("GPU-a", 16), sample("GPU-b", 8), sample("GPU-c", 80, healthy=False, reason="XID 79")))


def metrics() -> PluginMetrics:
    """Metrics with something counted."""
    found = PluginMetrics(
        Names(),
        [
            PluginState(Names(), lambda: NODE, lambda: 1.5, dict, lambda: True),
            GpuCollector(NodeView(gpus=lambda: NODE)),
        ],
    )
    found.allocated(Resource.MEMORY, "given")
    found.preferred(Resource.MEMORY, planned=True)
    found.registered(Resource.WHOLE)
    found.answered(Resource.MEMORY, "Allocate", 0.001)
    return found


def test_every_path_is_answered() -> None:
    """Status, and the text of health."""
    health = Health({"kubelet": lambda: "no kubelet"}, lambda: "")
    endpoints = Endpoints(("127.0.0.1", 0), health, metrics().registry)
    endpoints.start()
    with urllib3.PoolManager() as pool:
        url = f"http://127.0.0.1:{endpoints.port}"
        found = [pool.request("GET", url + path, timeout=10.0) for path in ("/healthz", "/readyz?verbose", "/other")]
        exposition = pool.request("GET", url + "/metrics", timeout=10.0).data.decode()
    endpoints.stop()
    assert [(answer.status, answer.data) for answer in found] == [
        (200, b"kubelet: no kubelet\n"),
        (503, b"kubelet: no kubelet\n"),
        (404, b"expected /healthz, /readyz or /metrics\n"),
    ]
    values = {
        (each.name, *sorted(each.labels.values())): each.value
        for family in text_string_to_metric_families(exposition)
        for each in family.samples
        if each.name.startswith("gpupack_plugin_") and not each.name.endswith(("_created", "_bucket", "_sum"))
    }
    assert values == {
        ("gpupack_plugin_allocations_total", "given", "gpupack.io/gpu-mem"): 1.0,
        ("gpupack_plugin_preferences_total", "gpupack.io/gpu-mem", "planned"): 1.0,
        ("gpupack_plugin_registrations_total", "gpupack.io/gpu"): 1.0,
        ("gpupack_plugin_call_duration_seconds_count", "Allocate", "gpupack.io/gpu-mem"): 1.0,
        ("gpupack_plugin_gpus", "healthy"): 2.0,
        ("gpupack_plugin_gpus", "unhealthy"): 1.0,
        ("gpupack_plugin_advertised_devices", "gpupack.io/gpu-mem"): 24.0,
        ("gpupack_plugin_advertised_devices", "gpupack.io/gpu"): 2.0,
        ("gpupack_plugin_advertised_devices", "gpupack.io/gpu-core"): 200.0,
        ("gpupack_plugin_reconcile_lag_seconds",): 1.5,
        ("gpupack_plugin_writes_failing",): 1.0,
        ("gpupack_plugin_overuse_evictions_total",): 0.0,
    }


def test_an_address_in_use_is_a_setting_that_cannot_work() -> None:
    """Named."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"listen 127.0.0.1:{port}"):
            Endpoints(("127.0.0.1", port), Health({}, lambda: ""), metrics().registry)


def test_probes_get_through_by_ipv4_and_ipv6() -> None:
    """A pod of an IPv6-only cluster has no other address that the kubelet could probe."""
    endpoints = Endpoints(("::", 0), Health({}, lambda: ""), metrics().registry)
    endpoints.start()
    hosts = {"127.0.0.1": "127.0.0.1", "::1": "[::1]"}
    with urllib3.PoolManager() as pool:
        urls = [f"http://{hosts[host]}:{endpoints.port}/healthz" for host in expected_of_every_address()]
        found = [pool.request("GET", url, timeout=10.0).status for url in urls]
    endpoints.stop()
    assert found == [200 for _ in urls]
