"""Starts the two clusters on which every scenario runs: simulated, and real kube-apiserver with kube-scheduler.

Scenarios speak to both through Kubernetes' HTTP API. In both the extender and the device plugins are the shipped ones;
kubelets are simulated (the real kubelet has tests of its own), or left out where a scenario is about scheduling only.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import urllib3
import yaml

from bench.simulated.apiserver.server import ApiServer
from bench.simulated.client import ClusterClient
from bench.simulated.kubelet.kubelet import KubeletSettings
from bench.simulated.node import SimulatedNode
from bench.simulated.processes import ExtenderProcess
from bench.simulated.scheduler.extender_client import ExtenderClient
from bench.simulated.scheduler.scheduler import SimulatedScheduler
from bench.simulated.specs import GpuSpec, MachineSpec, gpu_pod
from bench.simulated.waiting import wait_until
from extender.contract.names import Names
from tests.e2e.controlplane import ControlPlane

NAMES = Names()
MEMORY = NAMES.memory_resource
WHOLE = NAMES.gpu_resource
MANIFESTS = Path(__file__).parents[3] / "manifests"
NAMESPACE = "gpupack-system"
A100 = GpuSpec("NVIDIA A100-SXM4-80GB", 81920, 1)
T4 = GpuSpec("Tesla T4", 15360, 1)


def gpus(a100: int = 0, t4: int = 0) -> tuple[GpuSpec, ...]:
    """So many A100 (80 units each), then so many T4 (15 units each)."""
    return tuple(replace(model, count=count) for model, count in ((A100, a100), (T4, t4)) if count)


class Backend(Protocol):
    """Where the API server and the scheduler come from."""

    kind: str
    admin: Path
    extender_access: Path
    plugin_access: Path

    def start_scheduler(self, extender_url: str, stack: ExitStack) -> None:
        """Start a scheduler that calls this extender."""
        ...


class SimulatedBackend:
    """An API server and a scheduler of our own."""

    kind = "simulated"

    def __init__(self, server: ApiServer, folder: Path) -> None:
        self.volumes: Callable[[str, str], str] = lambda _pod, _node: ""
        self.admin = self.extender_access = self.plugin_access = server.write_kubeconfig(folder / "kubeconfig")

    def start_scheduler(self, extender_url: str, stack: ExitStack) -> None:
        """Start it; it ends with `stack`."""
        client = ClusterClient.from_kubeconfig(self.admin)
        stack.callback(client.close)
        stack.enter_context(SimulatedScheduler(client, ExtenderClient(extender_url), volumes=self.volumes))


class RealBackend:
    """A real control plane; extender and plugins have only the rights that the manifests give them."""

    kind = "real"

    def __init__(self, control_plane: ControlPlane) -> None:
        control_plane.apply(MANIFESTS / "overlays" / "default-scheduler")
        # The scenarios ask what the extender says of senseless pods; what the API server says has tests of its own.
        control_plane.kubectl("delete", "validatingadmissionpolicybinding", "gpupack-requests")
        self.control_plane = control_plane
        self.scheduler_flags: tuple[str, ...] = ()
        self.admin = control_plane.admin_kubeconfig
        self.extender_access = control_plane.kubeconfig_for(NAMESPACE, "gpupack-scheduler")
        self.plugin_access = control_plane.kubeconfig_for(NAMESPACE, "gpupack-device-plugin")

    def start_scheduler(self, extender_url: str, stack: ExitStack) -> None:
        """Start kube-scheduler with the shipped configuration."""
        shipped = MANIFESTS / "overlays" / "default-scheduler" / "scheduler-config.yaml"
        configuration = yaml.safe_load(shipped.read_text(encoding="utf-8"))
        configuration["extenders"][0]["urlPrefix"] = extender_url
        self.control_plane.start_scheduler(configuration, flags=self.scheduler_flags)
        stack.callback(self.control_plane.stop_scheduler)


@dataclass(slots=True)
class Environment:
    """One cluster under test, empty at first; a context manager that leaves the API as empty as it was."""

    backend: Backend
    extender_arguments: tuple[str, ...] = ()
    kubelet: KubeletSettings = field(default_factory=KubeletSettings)
    nodes: dict[str, SimulatedNode] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    client: ClusterClient = field(init=False)
    extender: ExtenderProcess = field(init=False)

    def start(self) -> None:
        """Start extender and scheduler."""
        folder = Path(tempfile.mkdtemp(prefix="gpupack-scenario-"))
        self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        self.client = ClusterClient.from_kubeconfig(self.backend.admin)
        self._stack.callback(self.client.close)
        self._stack.callback(self._clear)
        log = folder / "extender.log"
        self.extender = ExtenderProcess(self.backend.extender_access, log, self.extender_arguments)
        self._stack.callback(self.extender.stop)
        self.extender.start(timeout_s=180)
        self.backend.start_scheduler(self.extender.url, self._stack)

    def stop(self) -> None:
        """Stop everything and delete what was made."""
        self._stack.close()

    def add_node(self, spec: MachineSpec, *, generation: int = 0) -> SimulatedNode:
        """A node with kubelet and device plugin, ready; another `generation` has other GPUs."""
        node = SimulatedNode(
            spec,
            self.backend.admin,
            self.kubelet,
            generation=generation,
            plugin_kubeconfig=self.backend.plugin_access,
        )
        self.nodes[spec.name] = node
        node.start()
        node.wait_ready(timeout_s=180)
        return node

    def add_hollow_node(self, spec: MachineSpec) -> None:
        """A node that exists in the API only: enough where scheduling is the question."""
        self.client.create_node(spec.hollow_node_object(NAMES))

    def remove_node(self, name: str) -> None:
        """Take a node away for good, and its pods as pod garbage collection does."""
        if name in self.nodes:
            self.nodes.pop(name).stop()
        self.client.delete_node(name)
        for pod in self.client.pods(fieldSelector=f"spec.nodeName={name}"):
            self.client.delete_pod(pod["metadata"]["name"], pod["metadata"]["namespace"], grace_s=0)

    def extender_nodes(self) -> list[dict[str, Any]]:
        """What the extender says of every node."""
        answer: dict[str, list[dict[str, Any]]] = json.loads(self._asked("/v1/nodes"))
        return answer["nodes"]

    def explain(self, pod: str) -> dict[str, Any]:
        """What the extender says of a pod."""
        answer: dict[str, Any] = json.loads(self._asked(f"/v1/explain/default/{pod}"))
        return answer

    def calls(self, verb: str, outcome: str = "") -> int:
        """Calls that the extender has counted so far."""
        total = 0
        for line in self._asked("/metrics").decode().splitlines():
            wanted = line.startswith("gpupack_extender_requests_total{") and f'verb="{verb}"' in line
            if wanted and (not outcome or f'outcome="{outcome}"' in line):
                total += int(float(line.rpartition(" ")[2]))
        return total

    def wait_scheduler_knows_nodes(self) -> None:
        """Wait until all that was written about nodes so far has reached the scheduler, which tells nobody of it.

        It learns of nodes in the order of the writes: once it binds a pod to a new one, it knows what came before.
        """
        name = "the-newest"
        self.client.create_node(MachineSpec(name).node_object({}))
        here = {"kubernetes.io/hostname": name}
        # It asks for no GPU, so that it passes the extender by.
        self.client.create_pod(gpu_pod(name, {}, nodeSelector=here))
        self.wait_bound(name)
        self.client.delete_pod(name, grace_s=0)
        self.client.delete_node(name)

    def wait_bound(self, name: str, *, timeout_s: float = 60.0) -> dict[str, Any]:
        """The pod once it has a node."""
        return self.client.wait_for_pod(
            name, lambda pod: bool(pod["spec"].get("nodeName")), "to be bound", timeout_s=timeout_s
        )

    def wait_refused(self, name: str, saying: str = "", *, timeout_s: float = 60.0) -> str:
        """What kube-scheduler says of a pod that fits nowhere, once that has `saying` in it.

        Its first refusal may be of a view that lacks the newest node: the next one comes with that node.

        Raises:
            TimeoutError: it has not said so; the message has what it said last.
        """
        last = ""

        def refused(pod: Mapping[str, Any]) -> bool:
            nonlocal last
            last = _refusal(pod)
            return bool(last) and saying in last

        try:
            self.client.wait_for_pod(name, refused, f"to be refused with {saying!r}", timeout_s=timeout_s)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; it says {last!r}") from None
        return last

    def wait_ledger(self, pods: int, *, timeout_s: float = 60.0) -> None:
        """Wait until so many pods hold memory in the extender's ledger, as bound."""

        def counted() -> bool:
            holders = {
                holder["uid"]
                for node in self.extender_nodes()
                for gpu in node["gpus"]
                for holder in gpu["holders"]
                if holder["state"] == "bound"
            }
            return len(holders) == pods

        wait_until(counted, f"{pods} pods in the extender's ledger", timeout_s=timeout_s)

    def _asked(self, path: str) -> bytes:
        """The body of the extender's answer, when it gets to it."""

        def answer() -> tuple[int, bytes] | None:
            with suppress(urllib3.exceptions.HTTPError):
                return self.extender.get(path)
            return None

        return wait_until(answer, f"the extender's answer to {path}", timeout_s=60)[1]

    def _clear(self) -> None:
        for node in list(self.nodes.values()):
            node.stop()
        for pod in self.client.pods():
            self.client.delete_pod(pod["metadata"]["name"], pod["metadata"]["namespace"], grace_s=0)
        for node_object in self.client.list_all("/api/v1/nodes")[0]:
            self.client.delete_node(node_object["metadata"]["name"])
        wait_until(lambda: not self.client.pods(), "all pods to be gone", timeout_s=60)


def _refusal(pod: Mapping[str, Any]) -> str:
    for condition in pod["status"].get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            message: str = condition.get("message", "")
            return message
    return ""
