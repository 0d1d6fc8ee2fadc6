"""What is held for a pod lasts as long as its scheduling attempt, no longer and no shorter, and a bad node is left."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import replace as changed
from typing import Any

import pytest

from bench.simulated.client import ClusterClient
from bench.simulated.waiting import wait_until
from tests.e2e.promises.clusters import P100, add_nodes, pod_in
from tests.e2e.promises.failingnode import FailingNode
from tests.e2e.promises.provisioner import Provisioner
from tests.e2e.scenarios.environment import Environment

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

VOLUME_TAKES_S = 34.0
LATE_AFTER_S = 30.5
"""Both are longer than any fixed time for which the extender would keep room."""

MOST_FAILURES = 3
"""Failures on a node after which pods go elsewhere."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A cluster on which one pod waits for its volume; the others of the tests have zones of their own."""

    environment: Environment
    provisioner: Provisioner
    slow_since_s: float

    @property
    def client(self) -> ClusterClient:
        """The API server, as an admin."""
        return self.environment.client


@pytest.fixture(scope="module")
def begun(environment: Environment) -> Iterator[Begun]:
    """The pod that waits is begun with, so that the other tests run meanwhile."""
    add_nodes(environment, "slow", "s1", gpu=changed(P100, count=2))
    add_nodes(environment, "zombie", "z1")
    add_nodes(environment, "admission", "a1", "a2")
    add_nodes(environment, "attempt", "t1", "t2")
    with Provisioner(environment.client, _Volumes()) as provisioner:
        environment.client.create_pod(pod_in("slow", "a", 10))
        environment.wait_bound("a")
        volumes = provisioner.create_claim("slow")
        environment.client.create_pod(pod_in("slow", "slow", 10, volumes=volumes))
        wait_until(lambda: provisioner.nodes_asked_for("slow"), "slow to wait for its volume")
        slow_since_s = time.monotonic()
        # In time, whatever the tests are doing then.
        late = threading.Timer(LATE_AFTER_S, environment.client.create_pod, [pod_in("slow", "late", 10)])
        late.start()
        yield Begun(environment, provisioner, slow_since_s)
        late.cancel()


class _Volumes:
    """How long each claim's volume takes: zombie's never comes, and picky's comes anywhere but on its first node."""

    def __init__(self) -> None:
        self._first_node = ""

    def __call__(self, claim: str, node: str) -> float | None:
        if claim == "slow":
            return VOLUME_TAKES_S
        self._first_node = self._first_node or (node if claim == "picky" else "")
        return None if claim == "zombie" or node == self._first_node else 0.0


def test_a_pod_whose_attempts_fail_keeps_nobody_out(begun: Begun) -> None:
    """Its volume never comes and it is tried again and again: what was held for it is free when an attempt fails."""
    volumes = begun.provisioner.create_claim("zombie")
    begun.client.create_pod(pod_in("zombie", "zombie", 10, volumes=volumes))
    wait_until(lambda: len(begun.provisioner.nodes_asked_for("zombie")) >= 2, "two failed attempts of zombie")
    begun.client.create_pod(pod_in("zombie", "good", 10))
    assert begun.environment.wait_bound("good", timeout_s=20)["spec"]["nodeName"] == "z1"


def test_pods_that_fail_at_admission_make_others_go_elsewhere(begun: Begun) -> None:
    """A controller replaces each pod at once; without a memory of failures all of them go to the same node."""
    with FailingNode(begun.client, "stateful") as node:
        begun.client.request("POST", "/apis/apps/v1/namespaces/default/statefulsets", _stateful_set("stateful"))
        wait_until(lambda: node.survivor or len(node.failed) > 2 * MOST_FAILURES, "a pod to be bound elsewhere")
        begun.client.request("DELETE", "/apis/apps/v1/namespaces/default/statefulsets/stateful")
    assert (len(node.failed) <= MOST_FAILURES, {node.name, node.survivor}) == (True, {"a1", "a2"})


def test_attempts_that_fail_on_a_node_make_the_pod_go_elsewhere(begun: Begun) -> None:
    """Its volume can be made on the other node only, which nobody but the provisioner knows."""
    volumes = begun.provisioner.create_claim("picky")
    begun.client.create_pod(pod_in("attempt", "picky", 10, volumes=volumes))
    begun.environment.wait_bound("picky", timeout_s=30)
    first, *others = begun.provisioner.nodes_asked_for("picky")
    assert others[:MOST_FAILURES].count(first) < MOST_FAILURES


def test_a_pod_that_waits_for_its_volume_keeps_its_place(begun: Begun) -> None:
    """Its volume ties it to the node: were its place given away, it could never run."""
    slow = begun.environment.wait_bound("slow", timeout_s=VOLUME_TAKES_S + 10)
    late = begun.client.pod("late")
    assert late is not None
    assert late["metadata"]["creationTimestamp"] < _scheduled_at(slow)
    begun.environment.wait_refused("late")
    assert "nodeName" not in late["spec"]


def _scheduled_at(pod: dict[str, Any]) -> str:
    """When the pod was bound, in whole seconds as Kubernetes writes it."""
    (at,) = (each["lastTransitionTime"] for each in pod["status"]["conditions"] if each["type"] == "PodScheduled")
    return str(at)


def _stateful_set(app: str) -> dict[str, Any]:
    """One pod of 4 units at any time, on either node of zone "admission".

    Its controller makes the next pod once the failed one is deleted. Others do it at once, so that it would depend on
    the order of events whether the extender still finds the failed pod's memory in use.
    """
    pod = pod_in("admission", app, 4, labels={"app": app}, restartPolicy="Always")
    del pod["metadata"]["name"]
    spec = {"replicas": 1, "serviceName": app, "selector": {"matchLabels": {"app": app}}, "template": pod}
    return {"metadata": {"name": app}, "spec": spec}
