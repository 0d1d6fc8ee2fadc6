"""A new user in front of a fresh clone and a cluster: runs what the pages say, as it is written, and nothing else.

The cluster is a real control plane and one machine. Images cannot be pulled here, so the machine runs the containers of
gpupack's pods as processes, with the arguments, variables and tokens of the pods that the real controllers made; its
kubelet is simulated, and it has the GPUs of `GPUS` where a plugin asks NVML for them.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

import yaml

from bench.simulated.client import ClusterClient
from bench.simulated.kubelet.kubelet import SimulatedKubelet
from bench.simulated.processes import free_port
from bench.simulated.specs import MachineSpec
from tests.e2e.api import Json
from tests.e2e.controlplane import ControlPlane
from tests.e2e.installation import SYSTEM, ContainerProcess, pods_of
from tests.e2e.shell import run_written

REPOSITORY = Path(__file__).parents[2]
NODE = "node"
GPUS = {"gpus": [{"model": "NVIDIA A100-SXM4-80GB", "memory_mib": 81920, "count": 2}]}
EXTENDER_ADDRESS = "http://127.0.0.1:39999"
COMMAND_TIMEOUT_S = 200
SETTLE_TIMEOUT_S = 180
CONTROLLERS = {"device-plugin": "daemonsets", "scheduler": "deployments"}


class CloneError(RuntimeError):
    """There is nothing to clone; the message says why."""


class Machine:
    """The cluster's one machine: kubelet, and gpupack's containers as they come and go; a context manager."""

    def __init__(self, control_plane: ControlPlane, folder: Path) -> None:
        self.control_plane = control_plane
        self._folder = folder
        self._running: dict[str, ExitStack] = {}
        self._stack = ExitStack()
        self._leader = ""

    def __enter__(self) -> Self:
        """Start the kubelet: the machine is a node then."""
        client = ClusterClient.from_kubeconfig(self.control_plane.admin_kubeconfig)
        self._stack.callback(client.close)
        # A short path: it holds Unix sockets.
        root = self._stack.enter_context(TemporaryDirectory(prefix="gpupack-kubelet-", ignore_cleanup_errors=True))
        self.kubelet = SimulatedKubelet(MachineSpec(NODE), client, Path(root))
        self._stack.enter_context(self.kubelet)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for running in self._running.values():
            running.close()
        self._stack.close()

    def settle(self) -> None:
        """Do what a machine does by itself: start the containers of pods that came, end those of pods that went."""
        installed = self._settled()
        uids = {pod["metadata"]["uid"] for _, pod in installed}
        for gone in [uid for uid in self._running if uid not in uids]:
            self._running.pop(gone).close()
            self._leader = "" if gone == self._leader else self._leader
        for component, pod in installed:
            uid = pod["metadata"]["uid"]
            if uid in self._running or (component == "scheduler" and self._leader):
                continue  # of two schedulers one stands by, and would only be another of the same
            self._running[uid] = self._start(component, pod)

    def _settled(self) -> list[tuple[str, Json]]:
        """Component and pod of all that is installed, once the controllers have had their say for a second."""
        before: list[tuple[str, Json]] | None = None
        deadline_s = time.monotonic() + SETTLE_TIMEOUT_S
        while time.monotonic() < deadline_s:
            now = self._installed()
            if now is not None and before is not None and _uids(now) == _uids(before):
                return now
            before = now
            time.sleep(1)
        raise TimeoutError(f"the pods of {SYSTEM} did not settle within {SETTLE_TIMEOUT_S} s: {before}")

    def _installed(self) -> list[tuple[str, Json]] | None:
        """The same, or None while a pod has no node or is on its way out, or a controller has not looked."""
        found = []
        for component, kind in CONTROLLERS.items():
            path = f"/apis/apps/v1/namespaces/{SYSTEM}/{kind}/gpupack-{component}"
            pods = pods_of(self.control_plane, component)
            if self.control_plane.api.exists(path):
                owner = self.control_plane.api.get(path)
                wanted = owner["spec"].get("replicas", owner["status"].get("desiredNumberScheduled"))
                status = owner["status"]
                looked = status.get("observedGeneration") == owner["metadata"]["generation"]
                # Of the newest revision, by the names that the two kinds have for it.
                newest = status.get("updatedReplicas", status.get("updatedNumberScheduled", 0))
                if not looked or len(pods) != wanted or newest != wanted:
                    return None
            if any("deletionTimestamp" in pod["metadata"] or not pod["spec"].get("nodeName") for pod in pods):
                return None
            found += [(component, pod) for pod in pods]
        return found

    def _start(self, component: str, pod: Json) -> ExitStack:
        folder = self._folder / pod["metadata"]["name"]
        stack = ExitStack()
        if component == "device-plugin":
            self._start_plugin(pod, folder, stack)
        else:
            self._start_scheduler(pod, folder, stack)
            self._leader = pod["metadata"]["uid"]
        return stack

    def _start_plugin(self, pod: Json, folder: Path, stack: ExitStack) -> None:
        plugin = ContainerProcess(self.control_plane, pod, "device-plugin", folder)
        address = f"127.0.0.1:{free_port()}"
        changes = {
            "--kubelet-dir": str(self.kubelet.plugins_folder),
            "--podresources-socket": str(self.kubelet.podresources_socket),
            "--listen": address,
        }
        if "--gpus=nvml" in plugin.command({}):
            described = folder / "gpus.yaml"
            described.write_text(yaml.safe_dump(GPUS), encoding="utf-8")
            changes["--gpus"] = str(described)
        stack.callback(plugin.stop)
        plugin.start_python("device_plugin", changes, address)

    def _start_scheduler(self, pod: Json, folder: Path, stack: ExitStack) -> None:
        extender = ContainerProcess(self.control_plane, pod, "extender", folder / "extender")
        stack.callback(extender.stop)
        address, observed = (f"127.0.0.1:{free_port()}" for _ in range(2))
        extender.start_python("extender", {"--listen": address, "--observe-listen": observed}, observed)
        scheduler = ContainerProcess(self.control_plane, pod, "kube-scheduler", folder / "kube-scheduler")
        stack.callback(scheduler.stop)
        file = scheduler.mounted("/etc/gpupack") / "config.yaml"
        configuration = yaml.safe_load(file.read_text(encoding="utf-8").replace(EXTENDER_ADDRESS, f"http://{address}"))
        configuration["clientConnection"] = {"kubeconfig": str(scheduler.kubeconfig)}
        file.write_text(yaml.safe_dump(configuration), encoding="utf-8")
        _program, *arguments = scheduler.command({})
        # What in a pod comes from its service account's folder.
        access = [f"--{what}-kubeconfig={scheduler.kubeconfig}" for what in ("authentication", "authorization")]
        binary = str(self.control_plane.binaries.kube_scheduler)
        scheduler.start([binary, *arguments, *access, f"--secure-port={free_port()}"])


def _uids(found: list[tuple[str, Json]]) -> set[str]:
    return {pod["metadata"]["uid"] for _, pod in found}


class NewUser:
    """Someone with a shell in a fresh clone: git, make, kubectl and Python are there, and a kubeconfig."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.machine = machine
        self.clone = folder / "gpupack"
        self._home = folder / "home"
        self.placeholders: dict[str, str] = {"NODE": NODE, "FILE": "~/.kube/config"}

    def start(self) -> None:
        """Clone what was committed last, and take the environment that `make venv` would make.

        Raises:
            CloneError: the project is not in a Git repository.
        """
        command = ["git", "clone", "--quiet", "--no-hardlinks", str(REPOSITORY), str(self.clone)]
        cloned = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        if cloned.returncode:
            raise CloneError(f"the project cannot be cloned: {cloned.stderr.strip()}")
        environment = self.clone / ".venv"
        (environment / "bin").mkdir(parents=True)
        here = Path(sys.prefix)
        for program in (here / "bin").iterdir():
            (environment / "bin" / program.name).symlink_to(program)
        (environment / "lib").symlink_to(here / "lib")
        shutil.copy(here / "pyvenv.cfg", environment)
        plugin = environment / "bin" / "kubectl-gpupack"
        plugin.unlink(missing_ok=True)
        plugin.write_text(f'#!/bin/sh\nexec {environment}/bin/python -m extender.kubectl "$@"\n', encoding="utf-8")
        plugin.chmod(0o755)
        (environment / ".installed").touch()
        (self._home / ".kube").mkdir(parents=True)
        shutil.copy(self.machine.control_plane.admin_kubeconfig, self._home / ".kube" / "config")

    def run(self, text: str) -> str:
        """Run a command as it is written but for the placeholders, and let the machine follow; returns what it printed.

        Raises:
            RuntimeError: it failed; the message is what it said.
        """
        for name, value in self.placeholders.items():
            text = text.replace(name, value)
        said = run_written(text, folder=self.clone, environment=self._environment(), timeout_s=COMMAND_TIMEOUT_S)
        self.machine.settle()
        return said

    def write(self, name: str, text: str) -> None:
        """Save a block of a page as a file."""
        (self.clone / name).write_text(text, encoding="utf-8")

    def _environment(self) -> Mapping[str, str]:
        kubectl = self.machine.control_plane.binaries.kubectl.parent
        path = f"{self.clone / '.venv' / 'bin'}:{kubectl}:{os.environ['PATH']}"
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("GPUPACK_", "PYTHON", "KUBE"))
        }
        return {**kept, "HOME": str(self._home), "PATH": path, "NO_PROXY": "127.0.0.1"}
