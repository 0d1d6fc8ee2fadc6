"""A small kubelet's device side: takes registrations, listens to devices, admits containers, shows podresources.

It does what a real kubelet 1.36 was seen to do on its sockets, one call at a time; pods and an API server are not its
business.
"""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from device_plugin.kubelet.podresources_v1 import podresources_pb2, podresources_pb2_grpc
from device_plugin.kubelet.v1beta1 import deviceplugin_pb2 as messages
from device_plugin.kubelet.v1beta1 import deviceplugin_pb2_grpc as services

OPTIONS = (("grpc.default_authority", "localhost"), ("grpc.use_local_subchannel_pool", 1))
TIMEOUT_S = 30.0


@dataclass(slots=True)
class Plugin:
    """One registration: what the plugin said, and every list of devices since."""

    stub: Any
    channel: grpc.Channel
    options: Any
    lists: list[dict[str, str]] = field(default_factory=list)
    topologies: dict[str, list[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Holding:
    """Devices of one container; plain init containers are not listed."""

    namespace: str
    pod: str
    container: str
    resource: str
    ids: frozenset[str]
    listed: bool = True


class FakeKubelet:
    """Use as a context manager; `folder` holds kubelet.sock, and pod-resources.sock beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.podresources_socket = folder / "pr.sock"
        self.plugins: dict[str, Plugin] = {}
        self.registrations: list[str] = []
        self.holdings: list[Holding] = []
        self.claims: list[tuple[str, str, str, str]] = []
        """Pod, driver, device and CDI name of what dynamic resource allocation gave."""
        self.refuses: str = ""
        self._news = threading.Condition()
        self._server: grpc.Server | None = None

    def __enter__(self) -> "FakeKubelet":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Delete every socket in the folder, as a kubelet that starts does, and serve."""
        for path in self.folder.iterdir():
            if path.is_socket():
                path.unlink()
        self._server = grpc.server(ThreadPoolExecutor(8))
        services.add_RegistrationServicer_to_server(self, self._server)
        podresources_pb2_grpc.add_PodResourcesListerServicer_to_server(self, self._server)
        self._server.add_insecure_port(f"unix:{self.folder / 'kubelet.sock'}")
        self._server.add_insecure_port(f"unix:{self.podresources_socket}")
        self._server.start()

    def stop(self) -> None:
        """Go away; the sockets of the plugins stay."""
        if self._server is not None:
            self._server.stop(0).wait(TIMEOUT_S)
            self._server = None
        # A registration that is still being answered may come late: take them as they are now.
        with self._news:
            plugins, self.plugins = list(self.plugins.values()), {}
        for plugin in plugins:
            plugin.channel.close()

    def restart(self) -> None:
        """What `systemctl restart kubelet` does to plugins."""
        self.stop()
        self.start()

    def Register(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - gRPC's name
        """Dial the plugin and ask for its options before answering, then listen."""
        if self.refuses:
            context.abort(grpc.StatusCode.UNKNOWN, self.refuses)
        channel = grpc.insecure_channel(f"unix:{self.folder / request.endpoint}", options=OPTIONS)
        stub = services.DevicePluginStub(channel)
        plugin = Plugin(stub, channel, stub.GetDevicePluginOptions(messages.Empty(), timeout=TIMEOUT_S))
        threading.Thread(target=self._listen, args=(plugin,), daemon=True).start()
        with self._news:
            self.plugins[request.resource_name] = plugin
            self.registrations.append(request.resource_name)
            self._news.notify_all()
        return messages.Empty()

    def _listen(self, plugin: Plugin) -> None:
        try:
            for message in plugin.stub.ListAndWatch(messages.Empty()):
                with self._news:
                    plugin.lists.append({device.ID: device.health for device in message.devices})
                    plugin.topologies = {
                        device.ID: [node.ID for node in device.topology.nodes] for device in message.devices
                    }
                    self._news.notify_all()
        except (grpc.RpcError, ValueError):
            return  # the plugin or the channel went away

    def List(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ARG002, N802 - gRPC's names
        """One entry per device ID, as the real one writes them."""
        pods: dict[tuple[str, str], Any] = {}
        answer = podresources_pb2.ListPodResourcesResponse()
        for holding in list(self.holdings):
            if not holding.listed:
                continue
            key = (holding.namespace, holding.pod)
            if key not in pods:
                pods[key] = answer.pod_resources.add(name=holding.pod, namespace=holding.namespace)
            container = pods[key].containers.add(name=holding.container)
            for device_id in holding.ids:
                container.devices.add(resource_name=holding.resource, device_ids=[device_id])
        for pod, driver, device, cdi_name in self.claims:
            container = answer.pod_resources.add(name=pod, namespace="default").containers.add(name="main")
            part = container.dynamic_resources.add(claim_name="claim").claim_resources.add()
            part.driver_name, part.device_name = driver, device
            part.cdi_devices.add(name=cdi_name)
        return answer

    def Get(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - gRPC's name
        """The entry of one pod; the plugin reads lists only."""
        for found in self.List(podresources_pb2.ListPodResourcesRequest(), context).pod_resources:
            if (found.namespace, found.name) == (request.pod_namespace, request.pod_name):
                return podresources_pb2.GetPodResourcesResponse(pod_resources=found)
        context.abort(grpc.StatusCode.NOT_FOUND, f"pod {request.pod_namespace}/{request.pod_name} not found")
        return None

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> bool:
        """Wait until something that a plugin did makes the condition true."""
        with self._news:
            return self._news.wait_for(condition, timeout_s)

    def wait_listed(self, resource: str, count: int = 1) -> list[dict[str, str]]:
        """The first `count` lists of a resource's devices since its last registration."""
        assert self.wait_for(lambda: resource in self.plugins and len(self.plugins[resource].lists) >= count)
        return self.plugins[resource].lists

    def free(self, resource: str) -> set[str]:
        """Healthy devices that no container holds."""
        held = {device_id for holding in self.holdings if holding.resource == resource for device_id in holding.ids}
        devices = self.plugins[resource].lists[-1]
        return {device_id for device_id, health in devices.items() if health == "Healthy"} - held

    def preferred(self, resource: str, size: int, must_include: Iterable[str] = ()) -> list[str]:
        """GetPreferredAllocation for one container."""
        reused = frozenset(must_include)
        request = messages.PreferredAllocationRequest(
            container_requests=[
                messages.ContainerPreferredAllocationRequest(
                    available_deviceIDs=self.free(resource) | reused,
                    must_include_deviceIDs=reused,
                    allocation_size=size,
                )
            ]
        )
        answer = self.plugins[resource].stub.GetPreferredAllocation(request, timeout=TIMEOUT_S)
        return list(answer.container_responses[0].deviceIDs)

    def allocate(self, resource: str, ids: Iterable[str]) -> Any:
        """Allocate for one container; raises grpc.RpcError when it fails."""
        request = messages.AllocateRequest(container_requests=[messages.ContainerAllocateRequest(devices_ids=ids)])
        return self.plugins[resource].stub.Allocate(request, timeout=TIMEOUT_S).container_responses[0]

    def admit(
        self, pod: str, resource: str, size: int, *, container: str = "main", listed: bool = True
    ) -> tuple[frozenset[str], Any]:
        """Admit one container as the kubelet does: preferred devices, Allocate, then they show in podresources."""
        ids = frozenset(self.preferred(resource, size))
        answer = self.allocate(resource, ids)
        self.holdings.append(Holding("default", pod, container, resource, ids, listed))
        return ids, answer

    def pre_start(self, resource: str, ids: Iterable[str]) -> None:
        """PreStartContainer of one container."""
        self.plugins[resource].stub.PreStartContainer(
            messages.PreStartContainerRequest(devices_ids=ids), timeout=TIMEOUT_S
        )
