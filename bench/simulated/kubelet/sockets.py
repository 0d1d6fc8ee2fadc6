"""Serves the kubelet's gRPC APIs: Registration for device plugins, and podresources v1."""

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from bench.simulated.kubelet.device_manager import HeldDevices
from bench.simulated.kubelet.plugin_endpoint import PluginError
from device_plugin.kubelet.podresources_v1 import podresources_pb2 as podresources
from device_plugin.kubelet.podresources_v1 import podresources_pb2_grpc as podresources_stubs
from device_plugin.kubelet.v1beta1 import deviceplugin_pb2 as deviceplugin
from device_plugin.kubelet.v1beta1 import deviceplugin_pb2_grpc as deviceplugin_stubs

_API_VERSION = "v1beta1"
# The kubelet's own limits for podresources (pkg/kubelet/apis/podresources/constants.go).
_QUERIES_PER_S = 100.0
_BURST = 10.0


@dataclass(frozen=True, slots=True)
class ListedPod:
    """A pod as podresources lists it; `containers` in spec order, without plain init containers."""

    namespace: str
    name: str
    containers: tuple[str, ...]
    devices: tuple[HeldDevices, ...]


class _Registration:
    def __init__(self, register: Callable[[str, str], None]) -> None:
        self._register = register

    def Register(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - gRPC's name
        if request.version != _API_VERSION:
            supported = f"requested API version {request.version!r} is not supported by kubelet. Supported version is"
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{supported} [{_API_VERSION!r}]")
        if "/" not in request.resource_name:
            text = f"the ResourceName {request.resource_name!r} is invalid"
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
        try:
            self._register(request.resource_name, request.endpoint)
        except PluginError as error:
            context.abort(grpc.StatusCode.UNKNOWN, str(error))
        return deviceplugin.Empty()


class _PodResources:
    def __init__(self, pods: Callable[[], Iterable[ListedPod]]) -> None:
        self._pods = pods
        self._lock = threading.Lock()
        self._tokens = _BURST
        self._refilled = time.monotonic()

    def List(self, _request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - gRPC's name
        self._limit(context)
        return podresources.ListPodResourcesResponse(pod_resources=[_message(pod) for pod in self._pods()])

    def Get(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - gRPC's name
        self._limit(context)
        for pod in self._pods():
            if (pod.namespace, pod.name) == (request.pod_namespace, request.pod_name):
                return podresources.GetPodResourcesResponse(pod_resources=_message(pod))
        context.abort(grpc.StatusCode.UNKNOWN, f"pod {request.pod_name} in namespace {request.pod_namespace} not found")
        raise AssertionError("abort raises")

    def _limit(self, context: grpc.ServicerContext) -> None:
        with self._lock:
            now = time.monotonic()
            self._tokens = min(_BURST, self._tokens + (now - self._refilled) * _QUERIES_PER_S)
            self._refilled = now
            refused = self._tokens < 1
            self._tokens -= not refused
        if refused:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "rejected by rate limit")


def _message(pod: ListedPod) -> Any:
    message = podresources.PodResources(name=pod.name, namespace=pod.namespace)
    for name in pod.containers:
        container = message.containers.add(name=name)
        for held in pod.devices:
            if held.container == name:
                for identity in held.ids:
                    container.devices.add(resource_name=held.resource, device_ids=[identity])
    return message


class KubeletSockets:
    """Both servers of one kubelet.

    Args:
        registration: path of kubelet.sock.
        podresources_socket: path of the podresources socket.
        register: called with resource and endpoint of a plugin.
        pods: gives the pods to list.
    """

    def __init__(
        self,
        registration: Path,
        podresources_socket: Path,
        register: Callable[[str, str], None],
        pods: Callable[[], Iterable[ListedPod]],
    ) -> None:
        self._plugins = grpc.server(ThreadPoolExecutor(4, "registration"))
        deviceplugin_stubs.add_RegistrationServicer_to_server(_Registration(register), self._plugins)
        self._plugins.add_insecure_port(f"unix:{registration}")
        self._listing = grpc.server(ThreadPoolExecutor(4, "podresources"))
        podresources_stubs.add_PodResourcesListerServicer_to_server(_PodResources(pods), self._listing)
        self._listing.add_insecure_port(f"unix:{podresources_socket}")

    def start(self) -> None:
        """Serve."""
        self._listing.start()
        self._plugins.start()

    def stop(self) -> None:
        """Stop serving and wait until the sockets are closed."""
        for server in (self._plugins, self._listing):
            server.stop(grace=None).wait(10)
