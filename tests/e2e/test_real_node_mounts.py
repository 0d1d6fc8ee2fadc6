"""A container's own volume and a device plugin's mount at one path: which of the two a real container has.

MPS needs its own folder at /dev/shm. Simulated GPUs have no MPS, so here a plugin of the test's own mounts a folder.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from bench.simulated.waiting import wait_until
from device_plugin.kubelet.lifecycle import register
from device_plugin.kubelet.v1beta1 import deviceplugin_pb2 as messages
from device_plugin.kubelet.v1beta1 import deviceplugin_pb2_grpc as services
from tests.e2e.controlplane import ControlPlane
from tests.e2e.podspecs import container, pod
from tests.e2e.realkubelet import RealKubelet

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

RESOURCE, NAMESPACE, MARK = "example.com/shm", "mounts", "of-the-plugin"


class MountingPlugin:
    """A device plugin with two devices that mounts one folder of the node at /dev/shm."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def GetDevicePluginOptions(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ARG002, N802 - gRPC's
        return messages.DevicePluginOptions()

    def ListAndWatch(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: ARG002, N802 - gRPC's
        yield messages.ListAndWatchResponse(devices=[messages.Device(ID=each, health="Healthy") for each in "ab"])
        while context.is_active():
            time.sleep(0.1)

    def GetPreferredAllocation(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ARG002, N802 - gRPC's
        return messages.PreferredAllocationResponse()

    def Allocate(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ARG002, N802 - gRPC's
        mount = messages.Mount(container_path="/dev/shm", host_path=str(self._folder))
        return messages.AllocateResponse(container_responses=[messages.ContainerAllocateResponse(mounts=[mount])])

    def PreStartContainer(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ARG002, N802 - gRPC's
        return messages.PreStartContainerResponse()


@pytest.fixture(scope="module")
def mounting(
    control_plane: ControlPlane, real_kubelet: RealKubelet, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealKubelet]:
    """The node with that plugin; its folder has a file."""
    folder = tmp_path_factory.mktemp("shm")
    (folder / MARK).touch()
    server = grpc.server(ThreadPoolExecutor(4))
    services.add_DevicePluginServicer_to_server(MountingPlugin(folder), server)
    endpoint = real_kubelet.device_plugins_folder / "example-shm.sock"
    server.add_insecure_port(f"unix:{endpoint}")
    server.start()
    try:
        register(real_kubelet.device_plugins_folder / "kubelet.sock", RESOURCE, endpoint.name, None)
        control_plane.api.create_namespace(NAMESPACE)
        wait_until(lambda: real_kubelet.allocatable(RESOURCE) == "2", what="the node to offer the devices")
        yield real_kubelet
    finally:
        server.stop(0).wait(10)


def seen_at_dev_shm(container_id: str) -> list[str]:
    """Names of the files at /dev/shm in a container."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if container_id in (process / "cgroup").read_text():
                return [each.name for each in (process / "root" / "dev" / "shm").iterdir()]
        except OSError:
            continue  # it has just ended
    raise AssertionError(f"no process of container {container_id}")


@pytest.mark.parametrize(("own", "seen"), [(False, [MARK]), (True, [])])
def test_a_volume_of_the_pods_own_hides_what_a_device_plugin_mounts(
    control_plane: ControlPlane, mounting: RealKubelet, *, own: bool, seen: list[str]
) -> None:
    """So MPS can't hold a container that has one."""
    spec = container(limits={RESOURCE: 1})
    if own:
        spec["volumeMounts"] = [{"name": "own", "mountPath": "/dev/shm"}]
    volumes = [{"name": "own", "emptyDir": {"medium": "Memory"}}]
    name = f"own-{own}".lower()
    control_plane.api.create_pod(NAMESPACE, pod(name, spec, volumes=volumes, nodeName=mounting.node_name))
    (status,) = mounting.wait_running(NAMESPACE, name)["status"]["containerStatuses"]
    assert seen_at_dev_shm(status["containerID"].removeprefix("containerd://")) == seen
