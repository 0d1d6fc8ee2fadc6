"""A device plugin that gives what it is told to give and remembers what the kubelet asked of it, in order."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

from device_plugin.kubelet.v1beta1 import deviceplugin_pb2 as messages
from device_plugin.kubelet.v1beta1 import deviceplugin_pb2_grpc as stubs


class ScriptedPlugin:
    """Serves one resource on a socket beside the kubelet's; `calls` lists (method, sorted IDs, size)."""

    def __init__(
        self, folder: Path, resource: str, ids: Sequence[str], *, prefers: Sequence[str] | None = None
    ) -> None:
        self.calls: list[tuple[str, tuple[str, ...], int]] = []
        self.refuse_allocate = ""
        self.refuse_pre_start = 0
        self._folder = folder
        self._resource = resource
        self._endpoint = f"{resource.replace('/', '-')}.sock"
        self._prefers = prefers
        self._changed = threading.Condition()
        self._devices: list[tuple[str, str]] | None = None
        self.set_devices(ids)
        self._server = grpc.server(ThreadPoolExecutor(4))
        stubs.add_DevicePluginServicer_to_server(self, self._server)

    def set_devices(self, ids: Sequence[str], unhealthy: Sequence[str] = ()) -> None:
        """Send a new device list."""
        with self._changed:
            self._devices = [*((name, "Healthy") for name in ids), *((name, "Unhealthy") for name in unhealthy)]
            self._changed.notify_all()

    def start(self) -> None:
        """Serve, and register with the kubelet."""
        self._server.add_insecure_port(f"unix:{self._folder / self._endpoint}")
        self._server.start()
        self.register()

    def register(self) -> None:
        """Announce the socket to the kubelet."""
        with grpc.insecure_channel(
            f"unix:{self._folder / 'kubelet.sock'}", options=[("grpc.default_authority", "localhost")]
        ) as channel:
            request = messages.RegisterRequest(version="v1beta1", endpoint=self._endpoint, resource_name=self._resource)
            stubs.RegistrationStub(channel).Register(request, timeout=10, wait_for_ready=True)

    def stop(self) -> None:
        """Die: the stream ends and the socket goes."""
        with self._changed:
            self._devices = None
            self._changed.notify_all()
        self._server.stop(None).wait(10)

    def GetDevicePluginOptions(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - gRPC's name
        return messages.DevicePluginOptions(
            pre_start_required=True, get_preferred_allocation_available=self._prefers is not None
        )

    def ListAndWatch(self, _request: Any, context: Any) -> Iterator[Any]:  # noqa: N802 - gRPC's name
        sent: list[tuple[str, str]] | None = None
        while context.is_active():
            with self._changed:
                if self._devices is sent:
                    self._changed.wait(0.1)
                listed = self._devices
            if listed is None:
                return
            if listed is not sent:
                sent = listed
                devices = [messages.Device(ID=name, health=health) for name, health in listed]
                yield messages.ListAndWatchResponse(devices=devices)

    def GetPreferredAllocation(self, request: Any, _context: Any) -> Any:  # noqa: N802 - gRPC's name
        (wanted,) = request.container_requests
        self.calls.append(("prefer", tuple(sorted(wanted.must_include_deviceIDs)), wanted.allocation_size))
        free = [name for name in self._prefers or () if name in set(wanted.available_deviceIDs)]
        chosen = [*wanted.must_include_deviceIDs, *(name for name in free if name not in wanted.must_include_deviceIDs)]
        reply = messages.PreferredAllocationResponse()
        reply.container_responses.add().deviceIDs.extend(chosen[: wanted.allocation_size])
        return reply

    def Allocate(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        (wanted,) = request.container_requests
        ids = tuple(sorted(wanted.devices_ids))
        self.calls.append(("allocate", ids, len(ids)))
        if self.refuse_allocate:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, self.refuse_allocate)
        reply = messages.AllocateResponse()
        reply.container_responses.add().envs["DEVICES"] = ",".join(ids)
        return reply

    def PreStartContainer(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        self.calls.append(("start", tuple(sorted(request.devices_ids)), len(request.devices_ids)))
        if self.refuse_pre_start:
            self.refuse_pre_start -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        return messages.PreStartContainerResponse()
