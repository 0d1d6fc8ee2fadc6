"""The committed gRPC stubs are what the .proto files give, and keep the kubelet's names on the wire."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from device_plugin.kubelet.podresources_v1 import podresources_pb2
from device_plugin.kubelet.v1beta1 import deviceplugin_pb2

REPOSITORY = Path(__file__).parents[3]
STUBS = (
    "kubelet/v1beta1/deviceplugin_pb2.py",
    "kubelet/v1beta1/deviceplugin_pb2_grpc.py",
    "kubelet/podresources_v1/podresources_pb2.py",
    "kubelet/podresources_v1/podresources_pb2_grpc.py",
)


def test_the_committed_stubs_are_freshly_generated(tmp_path: Path) -> None:
    """Whoever edits a .proto file runs generate.sh and commits the result."""
    pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed: pip install gpupack[dev]")
    script = REPOSITORY / "device_plugin/kubelet/v1beta1/generate.sh"
    subprocess.run([script, tmp_path], check=True, env=os.environ | {"PYTHON": sys.executable}, timeout=60)
    fresh = {stub: (tmp_path / "device_plugin" / stub).read_text() for stub in STUBS}
    assert fresh == {stub: (REPOSITORY / "device_plugin" / stub).read_text() for stub in STUBS}


def test_services_have_the_names_that_the_kubelet_dials() -> None:
    """The gRPC path is /<package>.<service>/<method>."""
    assert [
        sorted(deviceplugin_pb2.DESCRIPTOR.services_by_name),
        deviceplugin_pb2.DESCRIPTOR.package,
        sorted(podresources_pb2.DESCRIPTOR.services_by_name),
        podresources_pb2.DESCRIPTOR.package,
    ] == [["DevicePlugin", "Registration"], "v1beta1", ["PodResourcesLister"], "v1"]
