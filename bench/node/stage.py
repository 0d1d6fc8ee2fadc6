"""Puts a node under load: the shipped device plugin as a process, over a simulated driver and kubelet.

The plugin reads GPUs through the real pynvml binding; only libnvidia-ml.so.1, the kubelet, the API server and /proc are
simulated. Every pod holds its share, runs one process on its GPU, and uses a little less than it was given.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import urllib3

from bench.simulated.apiserver.server import ApiServer
from bench.simulated.client import ClusterClient
from bench.simulated.kubelet.kubelet import SimulatedKubelet
from bench.simulated.nvml.driver import Model, SimulatedDriver, build
from bench.simulated.processes import ModuleProcess, free_port
from bench.simulated.specs import MachineSpec
from bench.simulated.waiting import wait_until
from device_plugin.usage.procfs import INITIAL_PID_NAMESPACE
from extender.contract.allocation import Allocation
from extender.contract.units import GpuUuid, UnitMib, Units, units_in

NODE = "n1"
MEMORY = "gpupack.io/gpu-mem"
RESERVED_MIB = 600
_READY_S = 60.0
_CALL_TIMEOUT_S = 30.0
_SHIPPED_ENVIRONMENT = {"MALLOC_ARENA_MAX": "2"}
"""As manifests/base/device-plugin.yaml sets it."""

_FIRST_PID = 1000


@dataclass(frozen=True, slots=True)
class NodeLoad:
    """What the node has: `gpus` of `memory_mib` that can be given out, and `pods` spread evenly over them."""

    gpus: int = 8
    memory_mib: int = 144384
    pods: int = 64
    unit_mib: UnitMib = UnitMib(256)  # noqa: RUF009 - a number

    @property
    def units(self) -> int:
        """Memory units of one GPU."""
        return units_in(self.memory_mib, self.unit_mib)

    @property
    def share(self) -> Units:
        """Units of one pod: a fifth of each GPU stays free."""
        per_gpu = max(1, -(-self.pods // self.gpus))
        return Units(max(1, self.units * 4 // 5 // per_gpu))


@dataclass(frozen=True, slots=True)
class NodeStage:
    """A node under load; `pid` is the plugin's."""

    load: NodeLoad
    server: ApiServer
    driver: SimulatedDriver
    pid: int
    port: int
    socket: Path
    log: Path

    def uuid(self, index: int) -> GpuUuid:
        """UUID of a GPU."""
        return GpuUuid(self.driver.gpus[index].uuid.decode())

    def node_writes(self) -> int:
        """How often the plugin has written to its Node so far."""
        return sum(line == f"PATCH /api/v1/nodes/{NODE}" for line in self.server.requests())

    def scrape(self) -> bytes:
        """The plugin's metrics."""
        answer = urllib3.request("GET", f"http://127.0.0.1:{self.port}/metrics", timeout=_CALL_TIMEOUT_S, retries=False)
        return bytes(answer.data)

    def work(self, turn: int) -> None:
        """Let every process use more or less than a moment ago, by a tenth of its share, and compute."""
        size_mib = self.load.share * self.load.unit_mib
        for number in range(self.load.pods):
            used_mib = size_mib * (90 + (turn + number) % 10) // 100
            gpu = self.driver.gpus[number % self.load.gpus]
            gpu.run(_FIRST_PID + number, used_mib, sm_percent=1 + (turn + number) % 12)


def measured(exposition: bytes) -> int:
    """The number of containers whose memory in use a scrape reports."""
    return exposition.count(b"\ngpupack_container_gpu_memory_used_bytes{")


@contextmanager
def staged(load: NodeLoad, folder: Path) -> Iterator[NodeStage]:
    """A node under load; `folder` is new and has a short path.

    Raises:
        BuildError: the simulated driver cannot be built here.
        ProcessError: the plugin is not ready in time.
    """
    library = build()
    with ExitStack() as stack:
        (folder / "nvml").mkdir()
        model = Model("NVIDIA H200", load.memory_mib + RESERVED_MIB, RESERVED_MIB)
        driver = SimulatedDriver(folder / "nvml", library, *[model] * load.gpus)
        stack.callback(driver.close)
        server = stack.enter_context(ApiServer())
        kubeconfig = server.write_kubeconfig(folder / "kubeconfig")
        client = ClusterClient.from_kubeconfig(kubeconfig)
        stack.callback(client.close)
        kubelet = SimulatedKubelet(MachineSpec(NODE), client, folder)
        stack.enter_context(kubelet)
        port, log = free_port(), folder / "plugin.log"
        arguments = {
            "node-name": NODE,
            "kubeconfig": kubeconfig,
            "kubelet-dir": kubelet.plugins_folder,
            "podresources-socket": kubelet.podresources_socket,
            "listen": f"127.0.0.1:{port}",
            "memory-unit-mib": load.unit_mib,
            "proc-root": folder / "proc",
        }
        _make_proc(folder / "proc", {})
        stack.enter_context(_environment({**driver.environment(), **_SHIPPED_ENVIRONMENT}))
        plugin = ModuleProcess(
            "device_plugin", [f"--{name}={value}" for name, value in arguments.items()], port, log=log
        )
        stack.enter_context(plugin)
        socket = kubelet.plugins_folder / "gpupack-gpu-mem.sock"
        stage = NodeStage(load, server, driver, plugin.pid, port, socket, log)
        _fill(stage, client, folder / "proc")
        wait_until(lambda: measured(stage.scrape()) == load.pods, "measurements of all pods", timeout_s=_READY_S)
        yield stage


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the programs that are started."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _fill(stage: NodeStage, client: ClusterClient, proc: Path) -> None:
    """Bind the pods as the extender does, let the kubelet admit them, and start their processes."""
    load = stage.load
    wanted = str(load.gpus * load.units)
    wait_until(lambda: _allocatable(client) == wanted, "devices in the node's allocatable", timeout_s=_READY_S)
    for number in range(load.pods):
        name = f"p{number}"
        containers = [{"name": "main", "image": "x", "resources": {"limits": {MEMORY: str(load.share)}}}]
        client.create_pod({"metadata": {"name": name}, "spec": {"containers": containers}})
        plan = Allocation(load.unit_mib, {"main": {stage.uuid(number % load.gpus): load.share}})
        client.bind_pod(name, NODE, annotations={"gpupack.io/allocation": plan.to_json()})
    wait_until(lambda: all(_is_recorded(pod) for pod in client.pods()), "records on all pods", timeout_s=_READY_S)
    uids = {}
    for number in range(load.pods):
        pod = client.pod(f"p{number}") or {}
        uids[number] = str(pod["metadata"]["uid"])
        status = {"containerStatuses": [{"name": "main", "containerID": f"containerd://{_container_id(number)}"}]}
        client.patch_pod(f"p{number}", {"status": status}, subresource="status")
    _make_proc(proc, uids)
    stage.work(0)


def _allocatable(client: ClusterClient) -> str:
    return str(((client.node(NODE) or {}).get("status", {}).get("allocatable") or {}).get(MEMORY, ""))


def _is_recorded(pod: Mapping[str, dict[str, dict[str, str]]]) -> bool:
    text = pod["metadata"].get("annotations", {}).get("gpupack.io/allocated")
    return text is not None and bool(json.loads(text)["containers"])


def _container_id(number: int) -> str:
    return f"{number:064x}"


def _make_proc(proc: Path, uids: Mapping[int, str]) -> None:
    """The node's /proc, with the processes of those pods."""
    namespace = proc / "self" / "ns"
    namespace.mkdir(parents=True, exist_ok=True)
    if not (namespace / "pid").is_symlink():
        (namespace / "pid").symlink_to(INITIAL_PID_NAMESPACE)
    for number, uid in uids.items():
        process = proc / str(_FIRST_PID + number)
        process.mkdir()
        pod = f"kubepods-burstable-pod{uid.replace('-', '_')}.slice"
        scope = f"cri-containerd-{_container_id(number)}.scope"
        path = f"/kubepods.slice/kubepods-burstable.slice/{pod}/{scope}"
        (process / "cgroup").write_text(f"0::{path}\n", encoding="ascii")
        (process / "comm").write_text("python3\n", encoding="ascii")
