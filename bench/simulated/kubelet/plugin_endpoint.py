"""Calls one registered device plugin over its Unix socket, and follows the stream of its devices."""

import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import grpc

from device_plugin.kubelet.v1beta1 import deviceplugin_pb2 as messages
from device_plugin.kubelet.v1beta1 import deviceplugin_pb2_grpc as stubs

_CONNECT_TIMEOUT_S = 10.0
# The kubelet sets no deadline for these; the simulated one must not hang forever.
_CALL_TIMEOUT_S = 120.0
_PRE_START_TIMEOUT_S = 30.0


class PluginError(Exception):
    """A call to the plugin failed; the text is the kubelet's."""


def _text_of(error: grpc.RpcError) -> str:
    code = "".join(word.capitalize() for word in error.code().name.split("_"))
    return f"rpc error: code = {code} desc = {error.details()}"


class PluginEndpoint:
    """One resource's plugin.

    Args:
        resource: the name it registered.
        socket: where it listens.
        on_devices: called from a thread of its own with the healthy and the unhealthy IDs, at every change.
        on_end: called once when the stream of devices has ended.
    """

    def __init__(
        self,
        resource: str,
        socket: Path,
        on_devices: Callable[["PluginEndpoint", list[str], list[str]], None],
        on_end: Callable[["PluginEndpoint"], None],
    ) -> None:
        self.resource = resource
        self.pre_start_required = False
        self.prefers = False
        self._on_devices = on_devices
        self._on_end = on_end
        options = [("grpc.max_receive_message_length", 4 * 1024 * 1024), ("grpc.default_authority", "localhost")]
        self._channel = grpc.insecure_channel(f"unix:{socket}", options=options)
        self._stub = stubs.DevicePluginStub(self._channel)
        self._stream: Any = None
        self._thread = threading.Thread(target=self._watch, name=f"devices of {resource}", daemon=True)

    def connect(self) -> None:
        """Dial, ask for the options, and begin to follow the devices.

        Raises:
            PluginError: nobody answers at the socket.
        """
        try:
            grpc.channel_ready_future(self._channel).result(timeout=_CONNECT_TIMEOUT_S)
            options = self._stub.GetDevicePluginOptions(messages.Empty(), timeout=_CALL_TIMEOUT_S)
        except (grpc.RpcError, grpc.FutureTimeoutError) as error:
            self._channel.close()
            raise PluginError(f"failed to dial device plugin: {error}") from error
        self.pre_start_required = options.pre_start_required
        self.prefers = options.get_preferred_allocation_available
        self._stream = self._stub.ListAndWatch(messages.Empty())
        self._thread.start()

    def close(self) -> None:
        """End the stream and the connection."""
        if self._stream is not None:
            self._stream.cancel()
        self._channel.close()

    def preferred(self, available: Collection[str], must_include: Collection[str], size: int) -> list[str]:
        """Ask which IDs the plugin would like to give; empty when it has no opinion.

        Raises:
            PluginError: the call failed.
        """
        if not self.prefers:
            return []
        request = messages.PreferredAllocationRequest()
        wanted = request.container_requests.add()
        wanted.available_deviceIDs.extend(available)
        wanted.must_include_deviceIDs.extend(must_include)
        wanted.allocation_size = size
        try:
            reply = self._stub.GetPreferredAllocation(request, timeout=_CALL_TIMEOUT_S)
        except grpc.RpcError as error:
            raise PluginError(f"device plugin GetPreferredAllocation rpc failed with err: {_text_of(error)}") from error
        return list(reply.container_responses[0].deviceIDs) if reply.container_responses else []

    def allocate(self, ids: Collection[str]) -> bytes:
        """Give IDs to a container; the answer is a serialized ContainerAllocateResponse.

        Raises:
            PluginError: the plugin refuses, or answers for no container.
        """
        request = messages.AllocateRequest()
        request.container_requests.add().devices_ids.extend(ids)
        try:
            reply = self._stub.Allocate(request, timeout=_CALL_TIMEOUT_S)
        except grpc.RpcError as error:
            raise PluginError(_text_of(error)) from error
        if not reply.container_responses:
            raise PluginError(f"no containers return in allocation response {reply}")
        answer: bytes = reply.container_responses[0].SerializeToString()
        return answer

    def pre_start(self, ids: Collection[str]) -> None:
        """Announce the start of a container, if the plugin wants to know.

        Raises:
            PluginError: the plugin does not let it start.
        """
        if not self.pre_start_required:
            return
        request = messages.PreStartContainerRequest(devices_ids=list(ids))
        try:
            self._stub.PreStartContainer(request, timeout=_PRE_START_TIMEOUT_S)
        except grpc.RpcError as error:
            raise PluginError(f"device plugin PreStartContainer rpc failed with err: {_text_of(error)}") from error

    def _watch(self) -> None:
        try:
            for reply in self._stream:
                healthy = [device.ID for device in reply.devices if device.health == "Healthy"]
                unhealthy = [device.ID for device in reply.devices if device.health != "Healthy"]
                self._on_devices(self, healthy, unhealthy)
        except grpc.RpcError:
            # However the stream ends, the plugin counts as gone.
            pass
        finally:
            self._on_end(self)


def environment_of(response: bytes) -> dict[str, str]:
    """The environment variables in a serialized ContainerAllocateResponse."""
    return dict(messages.ContainerAllocateResponse.FromString(response).envs)
