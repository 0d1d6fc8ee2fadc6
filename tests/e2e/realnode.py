"""One real node with the whole of gpupack: from pods to what kubelet, annotations, containers and extender say of them.

The extender, the device plugin and kube-scheduler's configuration are the shipped ones, under the rights of manifests/.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import urllib3
import yaml

from bench.simulated.processes import ExtenderProcess
from bench.simulated.waiting import wait_until
from device_plugin.kubelet.podresources import CHANNEL_OPTIONS
from device_plugin.kubelet.podresources_v1 import podresources_pb2, podresources_pb2_grpc
from extender.contract.names import Names
from extender.contract.quantity import parse_quantity
from tests.e2e.api import Json
from tests.e2e.controlplane import ControlPlane
from tests.e2e.pluginprocess import MODELS, Model, PluginProcess
from tests.e2e.podspecs import container, pod
from tests.e2e.realkubelet import RealKubelet

NAMES = Names()
MEMORY = NAMES.memory_resource
WHOLE = NAMES.gpu_resource
CORE = NAMES.core_resource
MANIFESTS = Path(__file__).parents[2] / "manifests"
OVERLAY = MANIFESTS / "overlays" / "default-scheduler"
SYSTEM = "gpupack-system"
EXTENDER_ACCOUNT = "gpupack-scheduler"
PLUGIN_ACCOUNT = "gpupack-device-plugin"
NAMESPACE = "work"
UNITS, GPUS = 670, 10
"""What the node offers when all is well: the sum of `pluginprocess.MODELS`."""
ON_A100 = {NAMES.model_annotation: "A100*"}
ANSWER_TIMEOUT_S = 10

Placement = dict[str, dict[str, int]]
"""Container to GPU UUID to memory units."""


class RealNode:
    """The parts of the node and what they say; a context manager, to be left before kubelet and control plane are.

    `models` are the node's GPUs, `options` more of the plugin's command line.
    """

    def __init__(
        self,
        control_plane: ControlPlane,
        kubelet: RealKubelet,
        folder: Path,
        models: Sequence[Model] = MODELS,
        options: Sequence[str] = (),
    ) -> None:
        self.control_plane = control_plane
        self.kubelet = kubelet
        self.api = control_plane.api
        control_plane.apply(OVERLAY)
        access = control_plane.kubeconfig_for(SYSTEM, EXTENDER_ACCOUNT)
        # The tests say on which GPU a pod must end: that takes a policy that does not learn from the pods before.
        self.extender = ExtenderProcess(access, folder / "extender.log", ("--policy", "binpack"))
        access = control_plane.kubeconfig_for(SYSTEM, PLUGIN_ACCOUNT)
        self.plugin = PluginProcess(kubelet, access, models, options)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Start extender, scheduler and plugin, and make the namespace of the pods."""
        with ExitStack() as stack:
            stack.callback(self.extender.stop)
            self.extender.start(timeout_s=180)
            stack.callback(self.control_plane.stop_scheduler)
            self.start_scheduler()
            stack.callback(self.plugin.stop)
            self.plugin.start()
            self.api.create_namespace(NAMESPACE)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def start_scheduler(self) -> None:
        """Start kube-scheduler with the shipped configuration."""
        configuration = yaml.safe_load((OVERLAY / "scheduler-config.yaml").read_text(encoding="utf-8"))
        configuration["extenders"][0]["urlPrefix"] = self.extender.url
        self.control_plane.start_scheduler(configuration)

    # Pods.

    def create(self, pod: Mapping[str, Any]) -> str:
        """Create a pod and return its name."""
        self.api.create_pod(NAMESPACE, pod)
        return str(pod["metadata"]["name"])

    def run(self, pod: Mapping[str, Any]) -> Json:
        """Create a pod and wait until it runs and says on which GPUs."""
        name = self.create(pod)
        self.kubelet.wait_running(NAMESPACE, name)
        return self.wait_reported(name)

    def pod(self, name: str) -> Json:
        """A pod as it is now."""
        return self.api.pod(NAMESPACE, name)

    def pods(self) -> list[Json]:
        """All pods of the tests."""
        items: list[Json] = self.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods")["items"]
        return items

    def wait_reported(self, name: str) -> Json:
        """The pod once the plugin has written what the kubelet gave it."""

        def reported() -> Json | None:
            pod = self.pod(name)
            return pod if NAMES.allocated_annotation in pod["metadata"].get("annotations", {}) else None

        return wait_until(reported, what=f"the plugin's report on {name}")

    def delete(self, name: str) -> None:
        """Delete a pod and wait until it is gone, from the extender's ledger as well."""
        self.api.delete_pod(NAMESPACE, name)
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{name}"
        wait_until(lambda: not self.api.exists(path), what=f"pod {name} to be gone", timeout_s=120)
        wait_until(lambda: not self.charged(name), what=f"the extender to know that pod {name} is gone")

    def clear(self) -> None:
        """Delete every pod, and wait until the kubelet has ended them and the extender knows."""
        self.api.delete(f"/api/v1/namespaces/{NAMESPACE}/pods")
        wait_until(lambda: not self.pods(), what="all pods to be gone", timeout_s=120)
        wait_until(lambda: not any(self.used().values()), what="the extender to know that all pods are gone")

    # What each side says.

    def environment(self, pod: str, container: str = "main") -> dict[str, str]:
        """What a container has seen, once it has written it all down."""

        def complete() -> dict[str, str] | None:
            found = self.kubelet.environment_of(NAMESPACE, pod, container)
            return found if "HOME" in found else None  # runc adds it behind what the pod and its devices bring

        return wait_until(complete, what=f"the environment of {pod}/{container}")

    def given(self) -> dict[str, Placement]:
        """By pod name what the kubelet's podresources API shows; a whole GPU counts with all its units."""
        with grpc.insecure_channel(f"unix:{self.kubelet.podresources_socket}", options=CHANNEL_OPTIONS) as channel:
            stub = podresources_pb2_grpc.PodResourcesListerStub(channel)
            answer = stub.List(podresources_pb2.ListPodResourcesRequest(), timeout=ANSWER_TIMEOUT_S)
        found: dict[str, Placement] = {}
        for listed in answer.pod_resources:
            for each in listed.containers:
                units: dict[str, int] = {}
                for devices in each.devices:
                    for device in devices.device_ids:
                        self._count(units, devices.resource_name, device)
                if units and listed.namespace == NAMESPACE:
                    found.setdefault(listed.name, {})[each.name] = units
        return found

    def account(self, pod: Json) -> dict[str, int]:
        """Units on each GPU that the kubelet's checkpoint keeps for a pod, those of ended init containers too."""
        checkpoint = json.loads(self.kubelet.checkpoint.read_text(encoding="utf-8"))
        devices = {
            (entry["ResourceName"], device)
            for entry in checkpoint["Data"]["PodDeviceEntries"] or ()
            if entry["PodUID"] == pod["metadata"]["uid"]
            for group in entry["DeviceIDs"].values()
            for device in group
        }
        units: dict[str, int] = {}
        for resource, device in devices:
            self._count(units, resource, device)
        return units

    def gpus(self) -> dict[str, Json]:
        """The node's GPUs by UUID, as the extender sees them."""
        nodes = json.loads(self._asked("/v1/nodes")[1])["nodes"]
        return {gpu["uuid"]: gpu for node in nodes if node["name"] == self.kubelet.node_name for gpu in node["gpus"]}

    def used(self) -> dict[str, int]:
        """Units that the extender counts as given on each GPU."""
        return {uuid: gpu["allocated"] for uuid, gpu in self.gpus().items()}

    def charged(self, pod: str) -> dict[str, int]:
        """Units on each GPU that the extender charges to a pod."""
        return {
            uuid: holder["units"]
            for uuid, gpu in self.gpus().items()
            for holder in gpu["holders"]
            if holder["name"] == pod and holder["state"] == "bound"
        }

    def wait_charged(self, pod: str, units: Mapping[str, int]) -> None:
        """Wait until the extender charges a pod so many units on these GPUs, and nothing else."""
        wait_until(lambda: self.charged(pod) == units, what=f"the extender to charge {pod} {dict(units)}")

    def explain(self, name: str) -> Json:
        """What the extender says of a pod; empty while it does not know it."""
        status, body = self._asked(f"/v1/explain/{NAMESPACE}/{name}")
        answer: Json = json.loads(body) if status == 200 else {}
        return answer

    def allocatable(self) -> tuple[int, ...]:
        """Units of GPU memory, whole GPUs and percent of compute that the Node offers."""
        return tuple(parse_quantity(self.kubelet.allocatable(resource)) for resource in (MEMORY, WHOLE, CORE))

    def wait_allocatable(self, units: int, gpus: int) -> None:
        """Wait until the Node offers this much, in units of GPU memory and in whole GPUs, with all of their compute.

        The kubelet takes in the three resources one after another, so to wait for one says nothing of the next.
        """
        expected = (units, gpus, 100 * gpus)
        wait_until(lambda: self.allocatable() == expected, what=f"the node to offer {expected}", timeout_s=120)

    def wait_known(self, gpus: int = GPUS) -> None:
        """Wait until the extender knows every GPU of the node, and that all of them are well."""
        wait_until(
            lambda: len(found := self.gpus()) == gpus and all(gpu["healthy"] for gpu in found.values()),
            what=f"the extender to know {gpus} healthy GPUs",
        )

    def disagreements(self) -> list[str]:
        """What is not the same in podresources, in `allocated` and in the extender's ledger, pod by pod."""
        given, found = self.given(), []
        for each in self.pods():
            name = each["metadata"]["name"]
            written = placed(each)
            if written != given.get(name):
                found.append(f"{name}: the annotation says {written}, the kubelet gave {given.get(name)}")
            if (charged := self.charged(name)) != total(written):
                found.append(f"{name}: the annotation says {written}, the extender charges {charged}")
        return found

    def wait_agreed(self) -> None:
        """Wait until kubelet, annotations and extender say the same of every pod.

        Raises:
            TimeoutError: they do not; the message has the pods on which they differ.
        """
        try:
            wait_until(lambda: not self.disagreements(), what="kubelet, annotations and extender to agree")
        except TimeoutError as error:
            raise TimeoutError(f"{error}: {'; '.join(self.disagreements())}") from None

    def _asked(self, path: str) -> tuple[int, bytes]:
        """Status and body of what the extender answers, when it gets to it."""

        def answer() -> tuple[int, bytes] | None:
            with suppress(urllib3.exceptions.HTTPError):
                return self.extender.get(path)
            return None

        return wait_until(answer, what=f"the extender's answer to {path}")

    def _count(self, units: dict[str, int], resource: str, device: str) -> None:
        if resource == MEMORY:
            uuid = device.rpartition("-")[0]
            units[uuid] = units.get(uuid, 0) + 1
        elif resource == WHOLE:
            units[device] = self.gpus()[device]["capacity"]


def share(name: str, units: int, **fields: Any) -> Json:
    """A pod with one container that asks for so many units."""
    return pod(name, container(limits={MEMORY: units}), **fields)


def whole(name: str, gpus: int, **fields: Any) -> Json:
    """A pod with one container that asks for so many whole GPUs."""
    return pod(name, container(limits={WHOLE: gpus}), **fields)


def placed(pod: Json, annotation: str = NAMES.allocated_annotation) -> Placement:
    """What an annotation of a pod says: `allocated` by the plugin, or `allocation` by the extender."""
    text = pod["metadata"].get("annotations", {}).get(annotation)
    containers: Placement = {} if text is None else json.loads(text)["containers"]
    return containers


def total(placement: Placement) -> dict[str, int]:
    """Units on each GPU over all containers."""
    units: dict[str, int] = {}
    for share in placement.values():
        for uuid, amount in share.items():
            units[uuid] = units.get(uuid, 0) + amount
    return units


def the_gpu(found: Json, name: str = "main") -> str:
    """The one GPU that a container was given."""
    (uuid,) = placed(found)[name]
    return uuid


def processes(found: Json) -> list[tuple[str, str]]:
    """What runs for a pod: another container ID or start is another process."""
    return [(status["containerID"], str(status["state"])) for status in found["status"]["containerStatuses"]]
