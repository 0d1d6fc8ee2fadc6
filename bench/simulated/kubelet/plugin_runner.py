"""Runs the real device plugin for a simulated kubelet, in a thread of this process."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from bench.simulated.kubelet.kubelet import SimulatedKubelet
from bench.simulated.specs import MachineSpec
from bench.simulated.starting import Startable
from device_plugin.service import run
from device_plugin.settings import Safeguards, Settings

_STOP_TIMEOUT_S = 30.0


def write_gpu_file(path: Path, spec: MachineSpec, *, generation: int = 0, unhealthy: Sequence[int] = ()) -> None:
    """Write the plugin's description of a node's GPUs; `unhealthy` are places among its GPUs and MIG devices.

    Another `generation` has other UUIDs: the node came back with other GPUs.
    """
    offered = list(enumerate(spec.inventory(generation=generation).gpus))
    entries: list[dict[str, Any]] = []
    for index, kind in enumerate(gpu for gpu in spec.gpus for _ in range(gpu.count)):
        places = [(place, gpu) for place, gpu in offered if gpu.index == index]
        _, first = places[0]
        uuid = first.uuid if first.mig is None else first.mig.parent
        entry: dict[str, Any] = {"model": kind.model, "memory_mib": kind.memory_mib, "uuids": [str(uuid)]}
        if kind.mig:
            entry["mig"] = list(kind.mig)
        ill = [number for number, (place, _) in enumerate(places) if place in unhealthy]
        if ill:
            entry |= {"unhealthy": ill, "reason": "XID 79"}
        entries.append(entry)
    fresh = path.with_suffix(".new")
    fresh.write_text(yaml.safe_dump({"gpus": entries}), encoding="utf-8")
    fresh.replace(path)


class PluginRunner(Startable):
    """One node's device plugin.

    Args:
        kubelet: the kubelet that it registers with.
        kubeconfig: how it reaches the API server.
        gpu_file: description of its GPUs.
    """

    def __init__(self, kubelet: SimulatedKubelet, kubeconfig: Path, gpu_file: Path) -> None:
        self._settings = Settings(
            node_name=kubelet.spec.name,
            kubeconfig=kubeconfig,
            kubelet_dir=kubelet.plugins_folder,
            podresources_socket=kubelet.podresources_socket,
            gpus=str(gpu_file),
            listen="127.0.0.1:0",
            sample_interval_s=0.5,
            reconcile_interval_s=2.0,
            safeguards=Safeguards(probation_s=0.0),
        )
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start it, without waiting until it serves."""
        self._stop = threading.Event()
        arguments = (self._settings, self._stop)
        name = f"device plugin of {self._settings.node_name}"
        self._thread = threading.Thread(target=run, args=arguments, name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it, and wait for its end."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_STOP_TIMEOUT_S)
            self._thread = None
