"""Runs the real device plugin for a simulated kubelet, in a thread of this process or as its own process."""

import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bench.simulated.kubelet.kubelet import SimulatedKubelet
from bench.simulated.processes import ROOT, ServerProcess
from bench.simulated.specs import NodeSpec
from device_plugin.service import run
from device_plugin.settings import Safeguards, Settings
from extender.contract.names import Names
from extender.contract.units import DEFAULT_UNIT_MIB, UnitMib

_STOP_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class PluginOptions:
    """How plugins run: names and unit of the installation, a process of its own or not, and when GPUs come back."""

    names: Names = field(default_factory=Names)
    unit_mib: UnitMib = DEFAULT_UNIT_MIB
    subprocess: bool = False
    sample_interval_s: float = 0.5
    reconcile_interval_s: float = 2.0
    probation_s: float = 0.0


def write_gpu_file(path: Path, spec: NodeSpec, *, generation: int = 0, unhealthy: Sequence[int] = ()) -> None:
    """Write the plugin's description of a node's GPUs; `unhealthy` are indices on the node.

    Another `generation` has other UUIDs: the node came back with other GPUs.
    """
    entries: list[dict[str, Any]] = [
        {"model": gpu.model, "memory_mib": gpu.memory_mib, "uuids": [str(gpu.uuid)]}
        for gpu in spec.inventory(generation=generation).gpus
    ]
    for index in unhealthy:
        entries[index] |= {"unhealthy": [0], "reason": "XID 79"}
    fresh = path.with_suffix(".new")
    fresh.write_text(yaml.safe_dump({"gpus": entries}), encoding="utf-8")
    fresh.replace(path)


class PluginRunner:
    """One node's device plugin.

    Args:
        kubelet: the kubelet that it registers with.
        kubeconfig: how it reaches the API server.
        gpu_file: description of its GPUs.
        options: how it runs.
        log: file for the output of a process of its own.
    """

    def __init__(
        self, kubelet: SimulatedKubelet, kubeconfig: Path, gpu_file: Path, options: PluginOptions, log: Path
    ) -> None:
        self._options = options
        self._log = log
        self._settings = Settings(
            node_name=kubelet.spec.name,
            kubeconfig=kubeconfig,
            kubelet_dir=kubelet.plugins_folder,
            podresources_socket=kubelet.podresources_socket,
            gpus=str(gpu_file),
            listen="127.0.0.1:0",
            memory_unit_mib=options.unit_mib,
            prefix=options.names.prefix,
            gpu_resource=options.names.gpu_resource,
            sample_interval_s=options.sample_interval_s,
            reconcile_interval_s=options.reconcile_interval_s,
            safeguards=Safeguards(probation_s=options.probation_s),
        )
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._process: ServerProcess | None = None

    def start(self) -> None:
        """Start it; it serves a moment later."""
        if self._options.subprocess:
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            self._process = ServerProcess("device plugin", self._command(), log=self._log, env=environment)
            return
        self._stop = threading.Event()
        arguments = (self._settings, self._stop)
        name = f"device plugin of {self._settings.node_name}"
        self._thread = threading.Thread(target=run, args=arguments, name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it politely."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_STOP_TIMEOUT_S)
            self._thread = None
        if self._process is not None:
            self._process.stop()
            self._process = None

    def kill(self) -> None:
        """SIGKILL, where it is a process of its own.

        Raises:
            RuntimeError: it is a thread, or does not run.
        """
        if self._process is None:
            raise RuntimeError("only a plugin that runs as a process can be killed")
        self._process.kill()
        self._process = None

    def _command(self) -> list[str]:
        settings = self._settings
        options = {
            "node-name": settings.node_name,
            "kubeconfig": settings.kubeconfig,
            "kubelet-dir": settings.kubelet_dir,
            "podresources-socket": settings.podresources_socket,
            "gpus": settings.gpus,
            "listen": settings.listen,
            "memory-unit-mib": settings.memory_unit_mib,
            "prefix": settings.prefix,
            "gpu-resource": settings.gpu_resource,
            "probation-s": str(settings.safeguards.probation_s),
        }
        given = [f"--{name}={value}" for name, value in options.items() if value]
        return [sys.executable, "-m", "device_plugin", *given]
