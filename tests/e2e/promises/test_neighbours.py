"""What a pod prefers has a say beside GPU memory, and pods of other schedulers are theirs."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from bench.simulated.specs import timestamp
from bench.simulated.waiting import wait_until
from tests.e2e.controlplane import ControlPlane
from tests.e2e.promises.clusters import add_nodes, pod_in
from tests.e2e.scenarios.environment import NAMES, Environment, RealBackend

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

EQUALS = ("e1", "e2", "e3", "e4")


@pytest.fixture
def equals(environment: Environment) -> Iterator[Environment]:
    """The module's cluster with four equal nodes, and no pods on them afterwards."""
    add_nodes(environment, "equal", *EQUALS)
    yield environment
    for pod in environment.client.pods():
        environment.client.delete_pod(pod["metadata"]["name"], grace_s=0)
    for name in EQUALS:
        environment.client.delete_node(name)


def test_a_pod_goes_to_the_equal_node_that_it_prefers(equals: Environment) -> None:
    """Each of four pods prefers another node; at most one of them would be there by chance."""
    went = {}
    for name in EQUALS:
        equals.client.create_pod(pod_in("equal", name, 4, affinity=_preferring(name)))
        went[name] = equals.wait_bound(name)["spec"]["nodeName"]
        equals.client.delete_pod(name, grace_s=0)
        wait_until(lambda: not any(gpu["allocated"] for node in equals.extender_nodes() for gpu in node["gpus"]))
    assert went == {name: name for name in EQUALS}


def test_pods_that_would_rather_be_spread_are_spread(equals: Environment) -> None:
    """The policy alone would pack all four on one GPU."""
    constraint = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"app": "spread"}},
    }
    nodes = []
    for number in range(4):
        name = f"spread-{number}"
        labels = {"app": "spread"}
        equals.client.create_pod(pod_in("equal", name, 4, labels=labels, topologySpreadConstraints=[constraint]))
        nodes.append(equals.wait_bound(name)["spec"]["nodeName"])
    assert sorted(nodes) == sorted(EQUALS)


def test_after_a_restart_our_pods_are_woken_and_those_of_others_are_not(
    control_plane: ControlPlane, backend: RealBackend, environment: Environment
) -> None:
    """The other's pod is more important and waits as well: it would take the room in the extender's reckoning."""
    add_nodes(environment, "shared", "s1")
    environment.client.request(
        "POST",
        "/apis/scheduling.k8s.io/v1/priorityclasses",
        {"metadata": {"name": "important"}, "value": 1000, "preemptionPolicy": "Never"},
    )
    environment.client.create_pod(pod_in("shared", "full", 16))
    environment.wait_bound("full")
    environment.client.create_pod(pod_in("shared", "other", 10, schedulerName="volcano", priorityClassName="important"))
    environment.client.patch_pod("other", {"status": {"conditions": [_unschedulable()]}}, subresource="status")
    environment.client.create_pod(pod_in("shared", "ours", 10))
    environment.wait_refused("ours")
    # Without kube-scheduler nobody but the extender notices the room.
    control_plane.stop_scheduler()
    environment.extender.stop()
    environment.client.delete_pod("full", grace_s=0)
    environment.extender.start(timeout_s=60)
    wait_until(lambda: _is_woken(environment, "ours"), "ours to be woken", timeout_s=20)
    with ExitStack() as stack:
        backend.start_scheduler(environment.extender.url, stack)
        assert environment.wait_bound("ours")["spec"]["nodeName"] == "s1"
    assert not _is_woken(environment, "other")


def _preferring(node: str) -> dict[str, Any]:
    expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    term = {"weight": 100, "preference": {"matchExpressions": [expression]}}
    return {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term]}}


def _unschedulable() -> dict[str, str]:
    """What a scheduler writes on a pod that fits nowhere."""
    reason = {"reason": "Unschedulable", "message": "0/1 nodes are available"}
    return {"type": "PodScheduled", "status": "False", "lastTransitionTime": timestamp(), **reason}


def _is_woken(environment: Environment, name: str) -> bool:
    pod = environment.client.pod(name)
    assert pod is not None
    return NAMES.retry_annotation in (pod["metadata"].get("annotations") or {})
