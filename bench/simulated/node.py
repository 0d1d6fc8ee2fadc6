"""Runs one simulated node with the real device plugin on it, for a simulated or a real control plane."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from bench.simulated.client import ClusterClient
from bench.simulated.kubelet.kubelet import KubeletSettings, SimulatedKubelet
from bench.simulated.kubelet.plugin_runner import PluginRunner, write_gpu_file
from bench.simulated.specs import MachineSpec
from bench.simulated.starting import Startable
from bench.simulated.waiting import wait_until
from extender.contract.names import Names

Body = dict[str, Any]
NAMES = Names()


class SimulatedNode(Startable):
    """A kubelet and a plugin; use it as a context manager, or call `start` and `stop`.

    Args:
        spec: the node.
        kubeconfig: how both reach the API server.
        settings: how the kubelet behaves.
        generation: another number means other GPU UUIDs, as after the node's GPUs were exchanged.
        plugin_kubeconfig: the plugin's own access, where it is not the kubelet's.
    """

    def __init__(
        self,
        spec: MachineSpec,
        kubeconfig: Path,
        settings: KubeletSettings | None = None,
        *,
        generation: int = 0,
        plugin_kubeconfig: Path | None = None,
    ) -> None:
        self.spec = spec
        self._generation = generation
        # A short path: Unix sockets allow about a hundred characters.
        self.folder = Path(tempfile.mkdtemp(prefix="gpupack-node-"))
        self._client = ClusterClient.from_kubeconfig(kubeconfig)
        self._gpu_file = self.folder / "gpus.yaml"
        self.kubelet = SimulatedKubelet(spec, self._client, self.folder / "kubelet", settings)
        self.plugin = PluginRunner(self.kubelet, plugin_kubeconfig or kubeconfig, self._gpu_file)

    def __enter__(self) -> Self:
        self.start()
        self.wait_ready()
        return self

    def start(self) -> None:
        """Start both; they are ready a moment later."""
        write_gpu_file(self._gpu_file, self.spec, generation=self._generation)
        self.kubelet.start()
        self.plugin.start()

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until the Node has its inventory and the units that belong to it.

        Raises:
            TimeoutError: it has not.
        """
        inventory = self.spec.inventory()
        units = sum(inventory.units_of(gpu) for gpu in inventory.gpus)

        def complete() -> bool:
            node = self._client.node(self.spec.name) or {}
            allocatable = node.get("status", {}).get("allocatable", {})
            annotations = node.get("metadata", {}).get("annotations") or {}
            published = NAMES.inventory_annotation in annotations
            return published and allocatable.get(NAMES.memory_resource) == str(units)

        wait_until(complete, f"node {self.spec.name} to offer {units} units", timeout_s=timeout_s)

    def set_unhealthy(self, indices: Sequence[int]) -> None:
        """Make exactly these GPUs unhealthy, by their index on the node."""
        write_gpu_file(self._gpu_file, self.spec, generation=self._generation, unhealthy=indices)

    def stop(self) -> None:
        """Stop both and remove their folder; the Node object stays."""
        self.plugin.stop()
        self.kubelet.stop()
        self._client.close()
        shutil.rmtree(self.folder, ignore_errors=True)
