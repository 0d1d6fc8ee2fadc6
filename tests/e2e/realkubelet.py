"""Runs the real kubelet on this machine as a node of a ControlPlane, for tests that need real admission of devices."""

import datetime
import fcntl
import os
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import yaml

from bench.simulated.processes import ServerProcess, free_port, not_ok_because
from bench.simulated.waiting import wait_until
from tests.e2e.api import Json
from tests.e2e.binaries import Binaries
from tests.e2e.containerruntime import ContainerRuntime, clean_up, remove_pod_cgroups
from tests.e2e.controlplane import ControlPlane
from tests.e2e.numanodes import command_with_nodes, write_nodes

DEVICE_PLUGINS_FOLDER = Path("/var/lib/kubelet/device-plugins")
"""Where device plugins register; compiled into the kubelet, so there is one per machine."""
LOCK = Path("/var/lock/gpupack-e2e-kubelet")
LOCK_TIMEOUT_S = 600
START_TIMEOUT_S = 180


class RealKubelet:
    """The kubelet and containerd as one node, which really runs the pods that are bound to it.

    A context manager; entering waits for the machine's only kubelet slot, then until the node is Ready. Pods must be
    on the host's network and run the idle image (`tests.e2e.podspecs.pod` does both). Needs root.

    `numa_nodes` other than 0 shows the kubelet a machine with so many NUMA nodes.
    """

    device_plugins_folder = DEVICE_PLUGINS_FOLDER

    def __init__(self, control_plane: ControlPlane, node_name: str = "real-node", *, numa_nodes: int = 0) -> None:
        self.node_name = node_name
        self._numa_nodes = numa_nodes
        self._changes: dict[str, Any] = {}
        self._control_plane = control_plane
        self._temporary = tempfile.TemporaryDirectory(prefix="gpupack-node-", ignore_cleanup_errors=True)
        self.folder = Path(self._temporary.name)
        self.podresources_socket = self.folder / "kubelet" / "pod-resources" / "kubelet.sock"
        self.checkpoint = DEVICE_PLUGINS_FOLDER / "kubelet_internal_checkpoint"
        self._runtime = ContainerRuntime(control_plane.binaries, self.folder / "containerd")
        self._kubelet: ServerProcess | None = None
        self._lock: IO[str] | None = None

    def __enter__(self) -> Self:
        self._lock = _take_the_only_slot(self.folder)
        try:
            self.wipe_checkpoint()
            self._runtime.start()
            self._write_files()
            self.start()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leave()

    def start(self) -> None:
        """Start the kubelet and wait until its node is Ready; the containers of an earlier one run on."""
        health_port = free_port()
        since = datetime.datetime.now(datetime.UTC)
        command = [
            str(self._control_plane.binaries.folder / "kubelet"),
            f"--config={self.folder}/kubelet.yaml",
            f"--kubeconfig={self.folder}/kubeconfig",
            f"--root-dir={self.folder}/kubelet",
            f"--hostname-override={self.node_name}",
            f"--healthz-port={health_port}",
        ]
        if self._numa_nodes:
            command = command_with_nodes(self.folder / "numa-nodes", command)
        self._kubelet = ServerProcess("kubelet", command, log=self.folder / "kubelet.log")
        url = f"http://127.0.0.1:{health_port}/healthz"
        self._kubelet.wait_ready(lambda: self._not_ready_because(url, since), timeout_s=START_TIMEOUT_S)

    def stop(self) -> None:
        """Stop the kubelet; its containers and the node object stay."""
        if self._kubelet is not None:
            self._kubelet.stop()
            self._kubelet = None

    def restart(self) -> None:
        """Stop the kubelet and start it again: it removes every socket in the device plugins' folder."""
        self.stop()
        self.start()

    def reconfigure(self, **changes: Any) -> None:
        """Start anew on a node without pods, with these fields of its configuration other than at first.

        It would free the devices of the pods before only after its first admission, so it forgets them.
        """
        self.stop()
        self.wipe_checkpoint()
        self._changes = changes
        self._write_config()
        self.start()

    def freeze(self) -> None:
        """Let the kubelet answer nobody and see nothing until `thaw`: pods that are bound meanwhile pile up."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen kubelet go on."""
        self._signal(signal.SIGCONT)

    def wipe_checkpoint(self) -> None:
        """Remove the kubelet's memory of which devices it gave to which container; only while it is stopped."""
        if self._kubelet is not None:
            raise RuntimeError("the kubelet runs and would write its checkpoint again: stop() it first")
        self.checkpoint.unlink(missing_ok=True)

    def node(self) -> Json:
        """The node object."""
        return self._control_plane.api.get(f"/api/v1/nodes/{self.node_name}")

    def allocatable(self, resource: str) -> str:
        """How much of a resource the node offers, as Kubernetes writes it ("10k"); "0" when it does not."""
        return str(self.node()["status"].get("allocatable", {}).get(resource, "0"))

    def wait_running(self, namespace: str, name: str, *, timeout_s: float = 120) -> Json:
        """Wait until all containers of the pod run, and return the pod.

        Raises:
            TimeoutError: they do not; the message has what kubectl says about the pod.
            RuntimeError: the pod has failed for good, as after an admission error.
        """
        try:
            return wait_until(lambda: self._when_running(namespace, name), what=f"{name} to run", timeout_s=timeout_s)
        except TimeoutError as error:
            described = self._control_plane.kubectl("describe", "pod", name, f"--namespace={namespace}")
            raise TimeoutError(f"{error}\n{described}") from None

    def log_of(self, namespace: str, pod_name: str, container: str) -> str:
        """What the containers of that name have written, oldest first: the idle program writes its environment."""
        files = sorted(self.folder.glob(f"pod-logs/{namespace}_{pod_name}_*/{container}/*.log"))
        lines = (line for file in files for line in file.read_text(encoding="utf-8").splitlines(keepends=True))
        # The format of the CRI: time, stream, flag, text. The last line may be half written.
        return "\n".join(line.rstrip("\n").split(" ", 3)[3] for line in lines if line.endswith("\n"))

    def environment_of(self, namespace: str, pod_name: str, container: str = "main") -> dict[str, str]:
        """The environment that a container of the idle image has seen."""
        lines = self.log_of(namespace, pod_name, container).splitlines()
        return {name: value for name, _, value in (line.partition("=") for line in lines)}

    def _signal(self, number: signal.Signals) -> None:
        if self._kubelet is None:
            raise RuntimeError("the kubelet does not run: start() it first")
        self._kubelet.signal(number)

    def _not_ready_because(self, url: str, since: datetime.datetime) -> str | None:
        unhealthy = not_ok_because(url)
        if unhealthy is not None:
            return unhealthy
        if not _a_kubelet_listens():
            return "it does not take device plugins yet"
        if not self._control_plane.api.exists(f"/api/v1/nodes/{self.node_name}"):
            return "the node is not registered"
        conditions = self.node()["status"].get("conditions", [])
        ready = [condition for condition in conditions if condition["type"] == "Ready"]
        if not ready or ready[0]["status"] != "True":
            return f"the node is not Ready: {ready}"
        # What an earlier kubelet has reported does not count. Times are in whole seconds.
        heartbeat = datetime.datetime.fromisoformat(ready[0]["lastHeartbeatTime"])
        return None if heartbeat > since else "the node's status has not been renewed"

    def _when_running(self, namespace: str, name: str) -> Json | None:
        pod = self._control_plane.api.pod(namespace, name)
        status = pod["status"]
        if status.get("phase") == "Failed":
            raise RuntimeError(f"pod {namespace}/{name} failed: {status.get('reason')}: {status.get('message')}")
        statuses = status.get("containerStatuses", [])
        return pod if statuses and all("running" in each["state"] for each in statuses) else None

    def _write_files(self) -> None:
        (self.folder / "pod-logs").mkdir()
        if self._numa_nodes:
            write_nodes(self.folder / "numa-nodes", self._numa_nodes)
        kubeconfig = self._control_plane.issue_kubeconfig(
            f"node-{self.node_name}", f"system:node:{self.node_name}", ("system:nodes",)
        )
        (self.folder / "kubeconfig").write_bytes(kubeconfig.read_bytes())
        self._write_config()

    def _write_config(self) -> None:
        authority = self._control_plane.authority
        serving = authority.issue(f"kubelet-{self.node_name}", self.node_name)
        config: dict[str, Any] = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": "127.0.0.1",
            "port": free_port(),
            "tlsCertFile": str(serving.certificate),
            "tlsPrivateKeyFile": str(serving.key),
            "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": str(authority.path)}},
            "containerRuntimeEndpoint": f"unix://{self._runtime.socket}",
            "podLogsDir": str(self.folder / "pod-logs"),
            "cgroupDriver": "cgroupfs",
            "failCgroupV1": False,
            "failSwapOn": False,
            "maxPods": 200,
            "nodeStatusUpdateFrequency": "1s",
            "localStorageCapacityIsolation": False,
            "makeIPTablesUtilChains": False,
            "imageGCHighThresholdPercent": 100,
            # A full disk or a busy machine must not evict what a test looks at.
            "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%"},
            **self._changes,
        }
        (self.folder / "kubelet.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")

    def _leave(self) -> None:
        self.stop()
        self._runtime.stop()
        clean_up(self.folder)
        remove_pod_cgroups()
        self.wipe_checkpoint()
        self._temporary.cleanup()
        if self._lock is not None:
            self._lock.truncate(0)
            self._lock.close()
            self._lock = None


def why_not(binaries: Binaries) -> str | None:
    """The reason why no real kubelet can run on this machine, for pytest.skip; None when it can."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "a real kubelet needs Linux and root"
    if binaries.missing_for_a_node:
        return f"a real kubelet needs {', '.join(binaries.missing_for_a_node)}: run `make kubernetes` with gcc or runc"
    with LOCK.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None  # another test module has it, and will give it back
        if _a_kubelet_listens():
            return f"another kubelet of this machine uses {DEVICE_PLUGINS_FOLDER}, and there can be only one"
    return None


def _a_kubelet_listens() -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(DEVICE_PLUGINS_FOLDER / "kubelet.sock"))
        except OSError:
            return False
    return True


def _take_the_only_slot(folder: Path) -> IO[str]:
    """Wait for the machine's lock, clean up after a run that was killed, and note which folder is in use now."""
    lock = LOCK.open("a+")
    try:
        wait_until(lambda: _locked(lock), what="the end of another real kubelet test", timeout_s=LOCK_TIMEOUT_S)
        lock.seek(0)
        left_behind = lock.read().strip()
        if left_behind:
            clean_up(Path(left_behind))
            shutil.rmtree(left_behind, ignore_errors=True)
            remove_pod_cgroups()
        lock.truncate(0)
        lock.write(str(folder))
        lock.flush()
    except BaseException:
        lock.close()
        raise
    return lock


def _locked(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
