"""Runs a whole simulated cluster: API server, nodes and scheduler in this process, the real extender as a child.

with SimulatedCluster(ClusterSettings(nodes=(NodeSpec("n1", (GpuSpec("Tesla T4", 15360, 4),)),))) as cluster:
    cluster.client.create_pod(gpu_pod("a", {"gpupack.io/gpu-mem": 8}))
    cluster.client.wait_for_phase("a", "Running")
"""

import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.simulated.apiserver.connections import WatchSettings
from bench.simulated.apiserver.server import ApiServer
from bench.simulated.client import ClusterClient
from bench.simulated.node import NodeSettings, SimulatedNode
from bench.simulated.processes import ExtenderProcess
from bench.simulated.scheduler.extender_client import ExtenderClient
from bench.simulated.scheduler.scheduler import SchedulerSettings, SimulatedScheduler
from bench.simulated.specs import NodeSpec


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """What the cluster consists of.

    Args:
        nodes: the nodes it starts with.
        hollow: nodes are only objects in the API, without kubelet and plugin: for loads of thousands of nodes.
        node: how kubelets and plugins behave.
        scheduler: how the scheduler behaves.
        with_scheduler: False leaves scheduling to the caller.
        extender_arguments: further options of the extender.
        extender_timeout_s: how long the scheduler waits for its answers.
        watches: how the API server serves watches.
    """

    nodes: tuple[NodeSpec, ...]
    hollow: bool = False
    node: NodeSettings = field(default_factory=NodeSettings)
    scheduler: SchedulerSettings = field(default_factory=SchedulerSettings)
    with_scheduler: bool = True
    extender_arguments: tuple[str, ...] = ()
    extender_timeout_s: float = 5.0
    watches: WatchSettings = field(default_factory=WatchSettings)


class SimulatedCluster:
    """A running cluster while used as a context manager; everything in it is in the attributes."""

    def __init__(self, settings: ClusterSettings) -> None:
        self.settings = settings
        self.folder = Path(tempfile.mkdtemp(prefix="gpupack-cluster-"))
        self.api = ApiServer(settings=settings.watches)
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
            self._start_extender(stack)
            if self.settings.with_scheduler:
                self._start_scheduler(stack)
            self.wait_nodes_ready()
            self._cleanup = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()

    def _start_extender(self, stack: ExitStack) -> None:
        options = self.settings.node.plugin
        arguments = ["--memory-unit-mib", str(options.unit_mib), "--prefix", options.names.prefix]
        if options.names.gpu_resource != f"{options.names.prefix}/gpu":
            arguments += ["--gpu-resource", options.names.gpu_resource]
        arguments += self.settings.extender_arguments
        self.extender = ExtenderProcess(self.kubeconfig, self.folder / "extender.log", arguments)
        stack.callback(self.extender.stop)
        self.extender.start()

    def _start_scheduler(self, stack: ExitStack) -> None:
        extender = ExtenderClient(self.extender.url, timeout_s=self.settings.extender_timeout_s)
        self.scheduler = SimulatedScheduler(self.client, extender, self.settings.scheduler)
        stack.enter_context(self.scheduler)

    def add_node(self, spec: NodeSpec, *, generation: int = 0, wait: bool = True) -> None:
        """Add a node; another `generation` has other GPU UUIDs."""
        if self.settings.hollow:
            options = self.settings.node.plugin
            self.client.create_node(spec.hollow_node_object(options.names, options.unit_mib))
            return
        node = SimulatedNode(spec, self.kubeconfig, self.settings.node, generation=generation)
        self.nodes[spec.name] = node
        node.start()
        if wait:
            node.wait_ready()

    def remove_node(self, name: str) -> None:
        """Take a node away for good; its pods vanish with it, as the garbage collector sees to."""
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
