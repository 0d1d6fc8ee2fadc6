"""Exact and scored placement both respect what kube-scheduler's own plugins demand, and preemption makes real room."""

from collections import Counter
from typing import Any

import pytest

from bench.simulated.specs import MachineSpec, gpu_pod
from bench.simulated.waiting import wait_until
from tests.checker import Checker
from tests.e2e.scenarios.conftest import Start
from tests.e2e.scenarios.environment import MEMORY, Environment, gpus

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(600)]
PLACEMENTS = pytest.mark.parametrize("placement", ["exact", "scored"])


def _cluster(start: Start, placement: str) -> Environment:
    environment = start(extender_arguments=("--placement", placement))
    for number in range(3):
        environment.add_hollow_node(MachineSpec(f"n{number}", gpus(a100=2)))
    wait_until(lambda: len(environment.extender_nodes()) == 3, "the extender to know the nodes")
    environment.wait_scheduler_knows_nodes()
    return environment


def _node_of(environment: Environment, pod: dict[str, Any]) -> str:
    environment.client.create_pod(pod)
    return str(environment.wait_bound(pod["metadata"]["name"])["spec"]["nodeName"])


@PLACEMENTS
def test_pods_are_packed(start: Start, placement: str) -> None:
    """Six pods that fit on one node end on one node, whatever the native scores say, when the choice is exact."""
    environment = _cluster(start, placement)
    with Checker(environment.client) as checker:
        nodes = {_node_of(environment, gpu_pod(f"p{number}", {MEMORY: 20})) for number in range(6)}
        assert checker.settle() == ()
    assert len(nodes) == 1 or placement == "scored"


@PLACEMENTS
def test_taints_and_node_affinity_are_respected(start: Start, placement: str) -> None:
    """The best node by policy is not on offer: the pod goes to one that is."""
    environment = _cluster(start, placement)
    first = _node_of(environment, gpu_pod("first", {MEMORY: 20}))
    taint = {"key": "closed", "value": "yes", "effect": "NoSchedule"}
    environment.client.patch_node(first, {"spec": {"taints": [taint]}})
    environment.wait_scheduler_knows_nodes()
    assert _node_of(environment, gpu_pod("second", {MEMORY: 20})) != first
    tolerations = [{"key": "closed", "operator": "Exists"}]
    wanted: dict[str, Any] = {"nodeSelector": {"kubernetes.io/hostname": first}, "tolerations": tolerations}
    assert _node_of(environment, gpu_pod("third", {MEMORY: 20}, **wanted)) == first
    other = "n1" if first != "n1" else "n2"
    expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": [other]}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    assert _node_of(environment, gpu_pod("fourth", {MEMORY: 20}, affinity=affinity)) == other


@PLACEMENTS
def test_topology_spread_is_respected(start: Start, placement: str) -> None:
    """Six replicas with a skew of at most one: two on each node, though all would fit on one."""
    environment = _cluster(start, placement)
    labels = {"app": "replicated"}
    constraint = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": labels},
    }
    with Checker(environment.client) as checker:
        nodes = []
        for number in range(6):
            pod = gpu_pod(f"p{number}", {MEMORY: 10}, topologySpreadConstraints=[constraint])
            pod["metadata"]["labels"] = labels
            nodes.append(_node_of(environment, pod))
        assert checker.settle() == ()
    assert Counter(nodes) == {"n0": 2, "n1": 2, "n2": 2}
    assert all(set(nodes[first : first + 3]) == {"n0", "n1", "n2"} for first in (0, 3))


@PLACEMENTS
def test_a_pod_of_higher_priority_evicts_where_that_makes_room(start: Start, placement: str) -> None:
    """Every node's total is full; the victims are on one GPU of the node that the pod is then nominated to."""
    environment = start(extender_arguments=("--placement", placement))
    for number in range(2):
        environment.add_node(MachineSpec(f"n{number}", gpus(a100=2)))  # with kubelets: victims must really end
    for number in range(8):
        _node_of(environment, gpu_pod(f"low-{number}", {MEMORY: 40}))
    environment.wait_ledger(8)
    urgent = gpu_pod("urgent", {MEMORY: 80}, priorityClassName="system-cluster-critical")
    with Checker(environment.client) as checker:
        node = _node_of(environment, urgent)
        assert checker.settle() == ()
    # A victim whose containers have ended holds nothing any more, though its object may still be there.
    staying = [pod for pod in environment.client.pods("default") if "deletionTimestamp" not in pod["metadata"]]
    left = {pod["metadata"]["name"] for pod in staying} - {"urgent"}
    # Two pods on one GPU; one more where kube-scheduler's own choice of victims was on two GPUs.
    assert len(left) in {5, 6}
    assert node in {"n0", "n1"}
