"""Serves the kubelet's gRPC calls for one resource: translates messages to values and answers back to messages."""

import logging
import threading
import time
from collections.abc import Iterator
from typing import Any, NoReturn

import grpc

from device_plugin.gpus.devices import DeviceIdError, describe, devices_of
from device_plugin.gpus.gpu import Gpus
from device_plugin.kubelet.admissions import Admissions
from device_plugin.kubelet.deciding.allocating import Refusal, RefusalKind
from device_plugin.kubelet.deciding.matching import Request
from device_plugin.kubelet.reconciling import Reconciler
from device_plugin.kubelet.v1beta1 import deviceplugin_pb2 as messages
from device_plugin.metrics import PluginMetrics
from device_plugin.sampling.feed import GpuFeed
from device_plugin.settings import Resource
from extender.contract.names import Names

_LOG = logging.getLogger(__name__)

_WAKE_UP_S = 0.5
_LEAST_GAP_S = 0.2
"""Between two device lists; changes within it are sent together, so that a flapping GPU causes no flood."""

_BEFORE_START_S = 3.0
"""For the record on the pod; the kubelet would wait 30 s, but nothing depends on it."""

_STATUS = {
    RefusalKind.UNKNOWN_DEVICE: grpc.StatusCode.INVALID_ARGUMENT,
    RefusalKind.UNHEALTHY: grpc.StatusCode.FAILED_PRECONDITION,
    RefusalKind.OCCUPIED: grpc.StatusCode.FAILED_PRECONDITION,
    RefusalKind.SPREAD: grpc.StatusCode.RESOURCE_EXHAUSTED,
    RefusalKind.MIG: grpc.StatusCode.FAILED_PRECONDITION,
}


def options_message(resource: Resource) -> Any:
    """Which optional calls the plugin wants from the kubelet, sent at registration and on request.

    For compute there is no PreStartContainer: the call for the container's memory writes the record.
    """
    return messages.DevicePluginOptions(
        pre_start_required=resource is not Resource.CORE, get_preferred_allocation_available=True
    )


class DevicePluginServicer:
    """The DevicePlugin service of one resource; gRPC calls it from many threads."""

    def __init__(
        self,
        *,
        resource: Resource,
        names: Names,
        feed: GpuFeed,
        admissions: Admissions,
        reconciler: Reconciler,
        metrics: PluginMetrics,
    ) -> None:
        self.resource = resource
        self._name = resource.name_in(names)
        self._feed = feed
        self._admissions = admissions
        self._reconciler = reconciler
        self._metrics = metrics
        self._lock = threading.Lock()
        self._watching = 0

    @property
    def is_watched(self) -> bool:
        """Whether a kubelet is watching the list of devices."""
        return self._watching > 0

    def GetDevicePluginOptions(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ARG002, N802 - gRPC's
        """Tell which optional calls are wanted."""
        return options_message(self.resource)

    def ListAndWatch(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: ARG002, N802 - gRPC's
        """Send the devices now, and again after every change of them."""
        with self._lock:
            self._watching += 1
        try:
            version, shown, sent = -1, None, None
            while context.is_active():
                version, gpus = self._feed.wait_newer(version, _WAKE_UP_S)
                if gpus is None:
                    continue
                # Which devices are held changes without a word from the GPUs.
                showing = self._admissions.showing(self.resource, gpus)
                if (version, showing) == shown:
                    continue
                shown = (version, showing)
                devices = devices_of(self.resource, gpus, showing)
                if devices == sent:
                    continue
                sent = devices
                yield messages.ListAndWatchResponse(
                    devices=[
                        messages.Device(
                            ID=device.id,
                            health="Healthy" if device.healthy else "Unhealthy",
                            topology=_topology(device.numa_node),
                        )
                        for device in devices
                    ]
                )
                _LOG.info("%s: sent %d devices to the kubelet", self._name, len(devices))
                time.sleep(_LEAST_GAP_S)
        finally:
            with self._lock:
                self._watching -= 1

    def GetPreferredAllocation(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - gRPC's name
        """Choose devices on the GPUs that the extender chose."""
        started_s = time.perf_counter()
        gpus = self._gpus(context)
        responses = []
        for each in request.container_requests:
            wanted = Request(
                self.resource,
                frozenset(each.available_deviceIDs) | frozenset(each.must_include_deviceIDs),
                frozenset(each.must_include_deviceIDs),
                each.allocation_size,
            )
            try:
                choice = self._admissions.prefer(wanted, gpus)
            except DeviceIdError as error:
                _abort(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
            self._metrics.preferred(self.resource, planned=choice.is_planned)
            size = describe(self.resource, wanted.size, gpus.unit_mib)
            _LOG.info("%s: %s for %s: %s", self._name, size, choice.key or "an unknown container", choice.why)
            responses.append(messages.ContainerPreferredAllocationResponse(deviceIDs=choice.ids))
        self._metrics.answered(self.resource, "GetPreferredAllocation", time.perf_counter() - started_s)
        return messages.PreferredAllocationResponse(container_responses=responses)

    def Allocate(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - gRPC's name
        """Give the containers the GPUs that their devices stand for, or fail with the reason."""
        started_s = time.perf_counter()
        gpus = self._gpus(context)
        responses = []
        for each in request.container_requests:
            answer = self._admissions.allocate(self.resource, each.devices_ids, gpus)
            if isinstance(answer, Refusal):
                self._metrics.allocated(self.resource, answer.kind.value)
                _LOG.warning("%s: refused: %s", self._name, answer.reason)
                _abort(context, _STATUS[answer.kind], f"{self._name}: {answer.reason}")
            self._metrics.allocated(self.resource, "given")
            _LOG.info("%s: given %s", self._name, dict(answer.gpus))
            responses.append(
                messages.ContainerAllocateResponse(
                    envs=answer.envs,
                    mounts=[
                        messages.Mount(
                            container_path=mount.container_path, host_path=mount.host_path, read_only=mount.read_only
                        )
                        for mount in answer.mounts
                    ],
                    devices=[
                        messages.DeviceSpec(container_path=path, host_path=path, permissions="rw")
                        for path in answer.device_nodes
                    ],
                    cdi_devices=[messages.CDIDevice(name=name) for name in answer.cdi_devices],
                )
            )
        self._metrics.answered(self.resource, "Allocate", time.perf_counter() - started_s)
        return messages.AllocateResponse(container_responses=responses)

    def PreStartContainer(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - gRPC's
        """Record on the pod what it really has before its container runs, and refuse what it did not ask for.

        Neither a container that has run before nor one that was known when it got its devices waits for the API server.
        """
        started_s = time.perf_counter()
        ids = frozenset(request.devices_ids)
        start = self._reconciler.before_start(self.resource, ids, _BEFORE_START_S)
        if start.refusal:
            self._metrics.refused_start(self.resource)
            _LOG.warning("%s: a container must not start: %s", self._name, start.refusal)
            _abort(context, grpc.StatusCode.FAILED_PRECONDITION, f"{self._name}: {start.refusal}")
        if not start.is_recorded:
            _LOG.warning("%s: the record of %d devices will be written later", self._name, len(ids))
        self._metrics.answered(self.resource, "PreStartContainer", time.perf_counter() - started_s)
        return messages.PreStartContainerResponse()

    def _gpus(self, context: grpc.ServicerContext) -> Gpus:
        gpus = self._feed.gpus
        if gpus is None:
            _abort(context, grpc.StatusCode.UNAVAILABLE, f"{self._name}: {self._feed.problem}")
        return gpus


def _abort(context: grpc.ServicerContext, code: grpc.StatusCode, reason: str) -> NoReturn:
    context.abort(code, reason)
    raise AssertionError("gRPC's abort raises")


def _topology(numa_node: int | None) -> Any:
    return None if numa_node is None else messages.TopologyInfo(nodes=[messages.NUMANode(ID=numa_node)])
