"""Native filters, scores and victims are those of kube-scheduler."""

from typing import Any

import pytest

from bench.simulated.scheduler.native_fit import (
    NativeMisfit,
    NodeState,
    PodView,
    fit_error,
    least_allocated,
    misfit,
    node_state,
    view_of,
)
from bench.simulated.scheduler.preempting import candidates, choose

MEMORY = "gpupack.io/gpu-mem"


def _pod(uid: str = "u", amount: int = 4, priority: int = 0, **spec: Any) -> PodView:
    requests = {MEMORY: str(amount), "cpu": "1"}
    containers = [{"name": "c", "resources": {"requests": requests}}]
    metadata = {"uid": uid, "namespace": "default", "name": uid}
    return view_of({"metadata": metadata, "spec": {"containers": containers, "priority": priority, **spec}})


def _node(name: str = "n", *pods: PodView, units: int = 8, **spec: Any) -> NodeState:
    allocatable = {"cpu": "4", "memory": "8Gi", "pods": "3", MEMORY: str(units)}
    node = node_state(
        {"metadata": {"name": name, "labels": {"zone": "a"}}, "spec": spec, "status": {"allocatable": allocatable}}
    )
    for pod in pods:
        node.add(pod)
    return node


def test_a_node_with_room_takes_the_pod() -> None:
    """No misfit."""
    assert misfit(_pod(), _node()) is None


def test_every_short_resource_is_a_reason() -> None:
    """Insufficient of each, and whether eviction could help."""
    full = _node("n", _pod("a", 6), _pod("b", 1), _pod("c", 1))
    assert misfit(_pod(), full) == NativeMisfit(("Too many pods", f"Insufficient {MEMORY}"), resolvable=True)
    assert misfit(_pod(amount=9), _node()) == NativeMisfit((f"Insufficient {MEMORY}",), resolvable=False)


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        ({"unschedulable": True}, "node(s) were unschedulable"),
        ({"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}, "node(s) had untolerated taint(s)"),
    ],
)
def test_nodes_that_do_not_want_pods(node: dict[str, Any], reason: str) -> None:
    """Cordoned and tainted nodes; eviction does not help."""
    assert misfit(_pod(), _node(**node)) == NativeMisfit((reason,))


def test_a_toleration_lets_the_pod_in() -> None:
    """By key and value, or by key alone."""
    node = _node(taints=[{"key": "k", "value": "v", "effect": "NoSchedule"}])
    assert misfit(_pod(tolerations=[{"key": "k", "value": "v"}]), node) is None
    assert misfit(_pod(tolerations=[{"key": "k", "operator": "Exists", "effect": "NoSchedule"}]), node) is None
    assert misfit(_pod(tolerations=[{"key": "k", "value": "w"}]), node) is not None


def test_selectors_and_affinity_choose_nodes() -> None:
    """nodeSelector, and required node affinity with expressions and the node's name."""
    terms = [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]}]
    by_name = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["other"]}]}]
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    assert misfit(_pod(nodeSelector={"zone": "a"}), _node()) is None
    assert misfit(_pod(nodeSelector={"zone": "b"}), _node()) is not None
    assert misfit(_pod(affinity={"nodeAffinity": {required: {"nodeSelectorTerms": terms}}}), _node()) is None
    assert misfit(_pod(affinity={"nodeAffinity": {required: {"nodeSelectorTerms": by_name}}}), _node()) is not None


def test_emptier_nodes_score_higher() -> None:
    """Mean of what stays free of cpu and memory."""
    assert least_allocated(_pod(), _node()) > least_allocated(_pod(), _node("n", _pod("a")))


def test_the_message_counts_equal_reasons() -> None:
    """In kube-scheduler's form and order."""
    reasons = {"Insufficient x": 3, "GPU memory is free but split over several GPUs": 7}
    assert fit_error(10, reasons) == (
        "0/10 nodes are available: 3 Insufficient x, 7 GPU memory is free but split over several GPUs."
    )
    assert fit_error(0, {}) == "no nodes available to schedule pods"


def test_as_few_victims_as_possible_and_the_least_important() -> None:
    """A node that has native room gives none, equal priority is never evicted."""
    pod = _pod("new", 4, priority=10)
    crowded = _node("crowded", _pod("a", 4, priority=1), _pod("b", 4, priority=5))
    equal = _node("equal", _pod("c", 8, priority=10))
    found = candidates(pod, [crowded, equal, _node("empty")])
    assert {name: [victim.uid for victim in victims] for name, victims in found.items()} == {"crowded": ["a"]}
    both = candidates(pod, [crowded, _node("cheap", _pod("d", 8, priority=0))])
    assert choose(both) == "cheap"
