"""Runs the shipped device plugin as a process for the real kubelet, with GPUs that a file describes."""

import os
import sys
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import urllib3
import yaml

from bench.simulated.processes import ServerProcess, free_port
from bench.simulated.waiting import wait_until
from tests.e2e.realkubelet import RealKubelet

REPOSITORY = Path(__file__).parents[2]
READY_TIMEOUT_S = 180


class Model(NamedTuple):
    """Equal GPUs of the node."""

    name: str
    memory_mib: int
    gpus: int
    numa_node: int | None = None


MODELS = (Model("NVIDIA A100-SXM4-80GB", 81920, 8), Model("Tesla T4", 15360, 2))
"""8 GPUs of 80 units, then 2 of 15."""


class PluginProcess:
    """`python -m device_plugin` for one kubelet; `stop` it before the kubelet's fixture is left.

    `models` are the node's GPUs, `options` more of the command line; other ones count from the next `start` on.
    """

    def __init__(
        self,
        kubelet: RealKubelet,
        kubeconfig: Path,
        models: Sequence[Model] = MODELS,
        options: Sequence[str] = (),
    ) -> None:
        self._models = models
        self._temporary = tempfile.TemporaryDirectory(prefix="gpupack-plugin-")
        folder = Path(self._temporary.name)
        self._gpus = folder / "gpus.yaml"
        self._log = folder / "plugin.log"
        self.url = f"http://127.0.0.1:{free_port()}"
        self._command = [
            *(sys.executable, "-m", "device_plugin"),
            f"--node-name={kubelet.node_name}",
            f"--kubeconfig={kubeconfig}",
            f"--kubelet-dir={kubelet.device_plugins_folder}",
            f"--podresources-socket={kubelet.podresources_socket}",
            f"--gpus={self._gpus}",
            f"--listen={self.url.removeprefix('http://')}",
            "--probation-s=0",
        ]
        self.options = options
        self._process: ServerProcess | None = None
        self._http = urllib3.PoolManager(retries=False, timeout=5)
        self.set_unhealthy(())

    def start(self, *, ready: bool = True) -> None:
        """Start it, and wait until it is registered and ready unless told not to."""
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        self._process = ServerProcess("device-plugin", [*self._command, *self.options], log=self._log, env=environment)
        if ready:
            self._process.wait_ready(self.not_ready_because, timeout_s=READY_TIMEOUT_S)

    def wait_ready(self) -> None:
        """Wait until it is registered with the kubelet and has published the node's GPUs."""
        wait_until(lambda: self.not_ready_because() is None, what="the plugin to be ready", timeout_s=READY_TIMEOUT_S)

    def not_ready_because(self) -> str | None:
        """What /readyz complains of; None when it is ready."""
        try:
            answer = self._http.request("GET", f"{self.url}/readyz")
        except urllib3.exceptions.HTTPError as error:
            return str(error)
        return None if answer.status == 200 else answer.data.decode()

    def set_unhealthy(self, indices: Collection[int]) -> None:
        """Make exactly these GPUs unhealthy, by their index on the node."""
        entries, first = [], 0
        for model in self._models:
            positions = [index - first for index in sorted(indices) if first <= index < first + model.gpus]
            entries.append(
                {
                    "model": model.name,
                    "memory_mib": model.memory_mib,
                    "count": model.gpus,
                    "numa_node": model.numa_node,
                    "unhealthy": positions,
                }
            )
            first += model.gpus
        fresh = self._gpus.with_suffix(".new")
        fresh.write_text(yaml.safe_dump({"gpus": entries}), encoding="utf-8")
        fresh.replace(self._gpus)

    def count(self, metric: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        total = 0.0
        for line in self._http.request("GET", f"{self.url}/metrics").data.decode().splitlines():
            name, _, rest = line.partition("{")
            if name == metric and all(f'{label}="{value}"' in rest for label, value in labels.items()):
                total += float(line.rpartition(" ")[2])
        return total

    def log(self) -> str:
        """What it has written so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def terminate(self) -> None:
        """SIGTERM, and wait for its end; harmless when it does not run."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def kill(self) -> None:
        """SIGKILL: no goodbye."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def stop(self) -> None:
        """End it for good and remove its files."""
        self.terminate()
        self._http.clear()
        self._temporary.cleanup()
