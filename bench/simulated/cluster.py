"""Runs a whole simulated cluster: API server, nodes and scheduler in this process, the real extender as a child.

with SimulatedCluster(ClusterSettings(nodes=(NodeSpec("n1", (GpuSpec("Tesla T4", 15360, 4),)),))) as cluster:
    cluster.client.create_pod(gpu_pod("a", {"gpupack.io/gpu-mem": 8}))
    cluster.client.wait_for_phase("a", "Running")
"""

import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.simulated.apiserver.server import ApiServer
from bench.simulated.client import ClusterClient
from bench.simulated.node import NAMES, SimulatedNode
from bench.simulated.processes import ExtenderProcess
from bench.simulated.scheduler.extender_client import ExtenderClient
from bench.simulated.scheduler.scheduler import SimulatedScheduler
from bench.simulated.specs import MachineSpec


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """What the cluster consists of.

    Args:
        nodes: the nodes it starts with.
        hollow: nodes are only objects in the API, without kubelet and plugin: for loads of thousands of nodes.
        extender_arguments: further options of the extender.
    """

    nodes: tuple[MachineSpec, ...]
    hollow: bool = False
    extender_arguments: tuple[str, ...] = ()


class SimulatedCluster:
    """A running cluster while used as a context manager; everything in it is in the attributes."""

    def __init__(self, settings: ClusterSettings) -> None:
        self.settings = settings
        self.folder = Path(tempfile.mkdtemp(prefix="gpupack-cluster-"))
        self.api = ApiServer()
        self.nodes: dict[str, SimulatedNode] = {}
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            stack.enter_context(self.api)
            self.kubeconfig = self.api.write_kubeconfig(self.folder / "kubeconfig")
            self.client = ClusterClient.from_kubeconfig(self.kubeconfig)
            stack.callback(self.client.close)
            stack.callback(self._stop_nodes)
            for spec in self.settings.nodes:
                self.add_node(spec, wait=False)
            log = self.folder / "extender.log"
            self.extender = ExtenderProcess(self.kubeconfig, log, self.settings.extender_arguments)
            stack.enter_context(self.extender)
            self.scheduler = SimulatedScheduler(self.client, ExtenderClient(self.extender.url))
            stack.enter_context(self.scheduler)
            self.wait_nodes_ready()
            self._cleanup = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()

    def add_node(self, spec: MachineSpec, *, generation: int = 0, wait: bool = True) -> None:
        """Add a node; another `generation` has other GPU UUIDs."""
        if self.settings.hollow:
            self.client.create_node(spec.hollow_node_object(NAMES))
            return
        node = SimulatedNode(spec, self.kubeconfig, generation=generation)
        self.nodes[spec.name] = node
        node.start()
        if wait:
            node.wait_ready()

    def remove_node(self, name: str) -> None:
        """Take a node away for good; its pods are deleted, as the garbage collector does."""
        if name in self.nodes:
            self.nodes.pop(name).stop()
        self.client.delete_node(name)
        for pod in self.client.pods(fieldSelector=f"spec.nodeName={name}"):
            self.client.delete_pod(pod["metadata"]["name"], pod["metadata"]["namespace"], grace_s=0)

    def wait_nodes_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until every node offers its GPUs.

        Raises:
            TimeoutError: one does not.
        """
        for node in self.nodes.values():
            node.wait_ready(timeout_s)

    def _stop_nodes(self) -> None:
        nodes: Sequence[SimulatedNode] = list(self.nodes.values())
        self.nodes.clear()
        for node in nodes:
            node.stop()
