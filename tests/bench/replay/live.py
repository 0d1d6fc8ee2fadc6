"""Sends a trace's pods through the real HTTP service, and compares its decisions with those of the replay.

The driver does what kube-scheduler does: it creates the pod, asks filter about the nodes where CPU and memory suffice,
and orders the binding. Before it asks, it waits until the extender has seen the pod and has estimated what is due, so
that both sides know the same; a real scheduler does not wait, and then an estimate may come a few pods later.
"""

import re
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.replay.deciding.learning import parse_contender
from bench.replay.deciding.mapping import UNIT_MIB, mapping_named, node_record, request_of
from bench.replay.deciding.run import Run
from bench.replay.setting import Setting
from bench.simulated.apiserver.server import ApiServer
from bench.simulated.client import ClusterClient, pods_path
from bench.simulated.processes import ExtenderProcess
from bench.simulated.scheduler.extender_client import ExtenderClient
from bench.simulated.waiting import wait_until
from bench.trace.reading import TraceNode, TracePod
from extender.contract.names import Names
from extender.scheduling.learning.estimating import FIRST_ESTIMATES_PODS, REESTIMATE_PODS
from extender.scheduling.nodes.node import NodeRecord
from extender.scheduling.pods.request import PodRequest

Body = dict[str, Any]
NAMES = Names()
NAMESPACE = "default"
_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Compared:
    """Pods that ask for GPUs, those placed, those that went elsewhere than in the replay; the replay's weight sets."""

    asked: int
    placed: int
    differing: tuple[str, ...]
    adopted: int


def compare(
    setting: Setting, policy: str, seed: int, order: Sequence[TracePod], sent: Callable[[int], None]
) -> Compared:
    """Send `order` through an extender with `policy` and through a replay; `sent` is called with 1 after each pod."""
    machines, run = setting.ordered_nodes(seed), setting.run(parse_contender(policy), seed)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(ApiServer())
        kubeconfig = server.write_kubeconfig(folder / "kubeconfig")
        api = ClusterClient.from_kubeconfig(kubeconfig)
        stack.callback(api.close)
        create_nodes(api, machines)
        options = ["--memory-unit-mib", str(UNIT_MIB), "--policy", policy]
        log = folder / "extender.log"
        extender = stack.enter_context(ExtenderProcess(kubeconfig, log, options))
        # Its first estimate must not count pods that the replay has not seen yet.
        wait_until(lambda: "ready: " in log.read_text(encoding="utf-8"), "the first estimate", timeout_s=_TIMEOUT_S)
        driver = Driver(run, api, extender)
        stack.callback(driver.close)
        return driver.drive(order, sent)


def create_nodes(api: ClusterClient, nodes: Sequence[TraceNode]) -> None:
    """The cluster, for an extender that starts later; names as in the replay."""
    mapping = mapping_named("relative")
    width = len(str(len(nodes)))
    for at, node in enumerate(nodes):
        record = node_record(node, f"node-{at:0{width}d}", mapping)
        api.request("POST", "/api/v1/nodes", node_body(record))


class Driver:
    """Feeds both sides.

    Args:
        run: the replay, empty.
        api: the API server that the extender watches.
        extender: the extender, running.
    """

    def __init__(self, run: Run, api: ClusterClient, extender: ExtenderProcess) -> None:
        self._mapping = mapping_named("relative")
        self._run = run
        self._api = api
        self._extender = extender
        self._client = ExtenderClient(extender.url, timeout_s=_TIMEOUT_S)
        self._known = self._asked = self._placed = 0
        self._differing: list[str] = []

    def close(self) -> None:
        """Close the kept connections to the extender."""
        self._client.close()

    def drive(self, pods: Sequence[TracePod], progress: Callable[[int], None]) -> Compared:
        """All pods, one at a time."""
        for number, pod in enumerate(pods):
            request = request_of(pod, self._mapping)
            roomy = [
                node.name
                for node in self._run.cluster.nodes
                if node.cpu_free_milli >= request.cpu_milli and node.memory_free_bytes >= request.memory_bytes
            ]
            plan = self._run.arrive(str(number), pod)
            node = plan.node if plan else ""
            if request.demands:
                self._decide(f"pod-{number}", pod, request, roomy, node)
            elif node:
                self._api.request("POST", pods_path(NAMESPACE), pod_body(f"pod-{number}", pod, request, node=node))
                self._known += 1
            progress(1)
        return Compared(self._asked, self._placed, tuple(self._differing), self._run.adopted)

    def _decide(self, name: str, pod: TracePod, request: PodRequest, roomy: Sequence[str], expected: str) -> None:
        created = self._api.request("POST", pods_path(NAMESPACE), pod_body(name, pod, request))
        self._known += 1
        self._asked += 1
        self._wait('gpupack_extender_pods{state="known"}', self._known)
        if self._asked in FIRST_ESTIMATES_PODS or self._asked % REESTIMATE_PODS == 0:
            self._wait("gpupack_extender_learned_pods", self._asked)
        answer = self._client.filter(created, roomy) if roomy else None
        node = answer.nodes[0] if answer and answer.nodes else ""
        if node:
            self._client.bind(NAMESPACE, name, created["metadata"]["uid"], node)
            self._placed += 1
        if node != expected:
            self._differing.append(f"{name}: {node or 'nowhere'}, expected {expected or 'nowhere'}")

    def _wait(self, series: str, value: int) -> None:
        pattern = re.compile(rf"^{re.escape(series)} (\S+)$", re.MULTILINE)

        def reached() -> bool:
            found = pattern.search(self._extender.get("/metrics")[1].decode())
            return found is not None and float(found[1]) == value

        wait_until(reached, f"{series} to be {value}", timeout_s=_TIMEOUT_S)


def node_body(record: NodeRecord) -> Body:
    """The Node with the inventory that its device plugin would publish."""
    inventory = record.inventory
    allocatable = {
        "cpu": f"{record.cpu_milli}m",
        "memory": str(record.memory_bytes),
        "pods": "1000",
        NAMES.memory_resource: str(record.memory_units or 0),
        NAMES.gpu_resource: str(record.whole_gpus or 0),
    }
    annotations = {NAMES.inventory_annotation: inventory.to_json()} if inventory is not None else {}
    return {
        "metadata": {"name": record.name, "annotations": annotations},
        "spec": {},
        "status": {"capacity": dict(allocatable), "allocatable": allocatable},
    }


def pod_body(name: str, pod: TracePod, request: PodRequest, *, node: str = "") -> Body:
    """The Pod that asks for the same; bound to `node` from the start where one is given."""
    asked = {"cpu": f"{request.cpu_milli}m", "memory": str(request.memory_bytes)}
    limits: dict[str, str] = {}
    if request.memory_units:
        limits[NAMES.memory_resource] = str(request.memory_units)
    if request.whole_gpus:
        limits[NAMES.gpu_resource] = str(request.whole_gpus)
    annotations = {NAMES.model_annotation: ",".join(pod.models)} if pod.models and limits else {}
    spec: Body = {"containers": [{"name": "main", "resources": {"requests": {**asked, **limits}, "limits": limits}}]}
    if node:
        spec["nodeName"] = node
    return {"metadata": {"name": name, "namespace": NAMESPACE, "annotations": annotations}, "spec": spec}
