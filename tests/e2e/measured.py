"""Serves metrics as a device plugin does and stands in the API as its pod, for what reads them through the proxy."""

import socket
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from prometheus_client import CollectorRegistry

from bench.simulated.client import STRATEGIC_PATCH, ClusterClient
from device_plugin.gpus.gpu import Gpus, GpuSample
from device_plugin.gpus.readings import GpuReading
from device_plugin.pods.pod import BoundPod, ContainerKey, ContainerNeed
from device_plugin.reporting.gpu_metrics import GpuCollector, NodeView
from device_plugin.serving import Endpoints, Health
from device_plugin.usage.accounting.usage import ContainerUse
from device_plugin.usage.measuring import Measurement
from extender.contract.containers import ContainerKind
from extender.contract.inventory import Inventory
from extender.contract.units import GpuUuid

_MIB = 1 << 20
NAMESPACE = "gpupack-system"


def own_address() -> str:
    """An address of this machine that is not loopback, which the API server's proxy refuses; empty without one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))  # nothing is sent: connecting only chooses a route
        except OSError:
            return ""
        address: str = probe.getsockname()[0]
    return "" if address.startswith("127.") else address


class MeasuredPlugin:
    """The shipped metrics of one node, as measured: a context manager.

    Args:
        client: to create its pod.
        node: where the pod is.
        inventory: the node's GPUs.
        used_mib: by pod (namespace default) and GPU.
    """

    def __init__(
        self,
        client: ClusterClient,
        node: str,
        inventory: Inventory,
        used_mib: Mapping[tuple[str, GpuUuid], int],
    ) -> None:
        self.address = own_address()
        self._client = client
        self._node = node
        samples = tuple(GpuSample(gpu.uuid, gpu.index, gpu.model, gpu.memory_mib) for gpu in inventory.gpus)
        pods = {pod: _pod(pod) for pod, _ in used_mib}
        uses = tuple(ContainerUse(ContainerKey(pod, "main"), uuid, size) for (pod, uuid), size in used_mib.items())
        sums = {sample.uuid: sum(use.used_mib for use in uses if use.gpu == sample.uuid) for sample in samples}
        readings = {uuid: GpuReading(uuid=uuid, used_bytes=size * _MIB) for uuid, size in sums.items()}
        peaks_mib = {(use.key, use.gpu): use.used_mib for use in uses}
        measured = Measurement(at_s=1.0, readings=readings, uses=uses, peaks_mib=peaks_mib)
        registry = CollectorRegistry()
        registry.register(
            GpuCollector(
                NodeView(
                    gpus=lambda: Gpus(inventory.unit_mib, samples), measurement=lambda: measured, pods=lambda: pods
                )
            )
        )
        self._endpoints = Endpoints((self.address, 0), Health({}, str), registry)

    def __enter__(self) -> Self:
        self._endpoints.start()
        pods = f"/api/v1/namespaces/{NAMESPACE}/pods"
        self._client.request("POST", pods, self._body())
        address = {"podIP": self.address, "podIPs": [{"ip": self.address}]}
        conditions = [{"type": "Ready", "status": "True"}]
        status = {"status": {"phase": "Running", **address, "conditions": conditions}}
        path = f"{pods}/{self.name}/status"
        self._client.request("PATCH", path, status, content_type=STRATEGIC_PATCH)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._endpoints.stop()

    @property
    def name(self) -> str:
        """Of its pod."""
        return f"gpupack-device-plugin-{self._node}"

    def _body(self) -> dict[str, Any]:
        labels = {"app.kubernetes.io/name": "gpupack", "app.kubernetes.io/component": "device-plugin"}
        ports = [{"name": "metrics", "containerPort": self._endpoints.port}]
        return {
            "metadata": {"name": self.name, "namespace": NAMESPACE, "labels": labels},
            "spec": {
                "nodeName": self._node,
                "serviceAccountName": "gpupack-device-plugin",
                "containers": [{"name": "device-plugin", "image": "none", "ports": ports}],
            },
        }


def _pod(name: str) -> BoundPod:
    need = ContainerNeed("main", ContainerKind.APP, memory_units=1)
    return BoundPod(uid=name, namespace="default", name=name, needs=(need,))
