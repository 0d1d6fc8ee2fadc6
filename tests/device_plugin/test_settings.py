"""Settings that cannot work are refused by name and value."""

from pathlib import Path
from typing import Any

import pytest

from device_plugin.settings import DeviceListStrategy, Resource, Settings, SettingsError
from extender.contract.units import UnitMib


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"node_name": ""}, "node name '': expected"),
        ({"gpus": ""}, "gpus '': expected nvml or a YAML file"),
        ({"listen": "39998"}, "listen '39998': expected HOST:PORT"),
        ({"listen": "localhost:99999"}, "listen 'localhost:99999': expected HOST:PORT"),
        ({"listen": "a:" + "9" * 5000}, "expected HOST:PORT"),
        ({"memory_unit_mib": UnitMib(1)}, "memory unit of 1 MiB: expected one of 256, 512, 1024"),
        ({"prefix": "Not A Domain"}, "prefix 'Not A Domain'"),
        ({"gpu_resource": "gpu"}, "gpu_resource 'gpu'"),
        ({"sample_interval_s": 0.0}, "sample_interval_s 0.0: expected 0.05 to 3600 seconds"),
        ({"kubelet_dir": Path("/" + "k" * 100)}, "expected at most 73 bytes"),
        (
            {"startup_taints": frozenset({"example.com/new=true"})},
            "startup taint 'example.com/new=true': expected the key",
        ),
        ({"startup_taints": frozenset({""})}, "startup taint '': expected the key of a taint"),
    ],
)
def test_what_cannot_work_is_refused(change: dict[str, Any], words: str) -> None:
    """At the start, not at the first pod."""
    with pytest.raises(SettingsError, match=words):
        Settings(**{"node_name": "n1", **change})


@pytest.mark.parametrize(
    ("listen", "address"), [("127.0.0.1:0", ("127.0.0.1", 0)), ("[::1]:80", ("::1", 80)), ("0.0.0.0:1", ("0.0.0.0", 1))]
)
def test_addresses(listen: str, address: tuple[str, int]) -> None:
    """IPv6 in brackets."""
    assert Settings(node_name="n1", listen=listen).address() == address


def test_installations_with_other_prefixes_have_other_sockets() -> None:
    """Two of them can serve one node."""
    settings = [Settings(node_name="n1"), Settings(node_name="n1", prefix="example.com")]
    assert [each.socket_name(resource) for each in settings for resource in Resource] == [
        "gpupack-gpu-mem.sock",
        "gpupack-gpu.sock",
        "gpupack-gpu-core.sock",
        "example.com-gpu-mem.sock",
        "example.com-gpu.sock",
        "example.com-gpu-core.sock",
    ]


@pytest.mark.parametrize(
    ("strategy", "wanted", "named"),
    [
        (DeviceListStrategy.ENVVAR, True, True),
        (DeviceListStrategy.ENVVAR, False, False),
        (DeviceListStrategy.CDI_CRI, True, False),
    ],
)
def test_device_nodes_are_named_unless_cdi_does_so(*, strategy: DeviceListStrategy, wanted: bool, named: bool) -> None:
    """On by default."""
    found = Settings(node_name="n1", device_list_strategy=strategy, device_specs=wanted)
    assert (found.names_device_nodes, Settings(node_name="n1").names_device_nodes) == (named, True)


def test_effective_settings_are_plain_values() -> None:
    """They go to the log once."""
    effective = Settings(node_name="n1").effective()
    assert {type(value) for value in effective.values()} <= {str, int, float, bool, type(None)}
    assert (effective["device_list_strategy"], effective["enforcement"]) == ("envvar", "driver")
