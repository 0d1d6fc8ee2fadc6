"""One pod after the other: the replay decides, the live extender decides, and both answers are compared.

The driver does what kube-scheduler does: it creates the pod, asks filter about the nodes where CPU and memory suffice,
and orders the binding. Before it asks, it waits until the extender has seen the pod and has estimated what is due, so
that both sides know the same; a real scheduler does not wait, and then an estimate may come a few pods later.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.live.objects import NAMESPACE, node_body, pod_body
from bench.replay.deciding.mapping import mapping_named, node_record, request_of
from bench.replay.deciding.run import Run
from bench.simulated.client import ClusterClient, pods_path
from bench.simulated.processes import ExtenderProcess
from bench.simulated.scheduler.extender_client import ExtenderClient
from bench.simulated.waiting import wait_until
from bench.trace.reading import TraceNode, TracePod
from extender.scheduling.learning.estimating import FIRST_ESTIMATES_PODS, REESTIMATE_PODS
from extender.scheduling.pods.request import PodRequest

_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of it: pods that ask for GPUs, those placed, and the first that went elsewhere than in the replay."""

    asked: int
    placed: int
    differing: tuple[str, ...]


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
        return Compared(self._asked, self._placed, tuple(self._differing))

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
