"""The simulated scheduler spreads pods as kube-scheduler's PodTopologySpread does."""

from collections.abc import Mapping
from typing import Any

import pytest

from bench.simulated.scheduler.native_fit import NodeState, PodView, spread_misfits, view_of
from extender.capacity.eligibility import NodeTraits

SPREAD = "node(s) didn't match pod topology spread constraints"
CONSTRAINT = {
    "maxSkew": 1,
    "topologyKey": "zone",
    "whenUnsatisfiable": "DoNotSchedule",
    "labelSelector": {"matchLabels": {"app": "a"}},
}


def _pod(name: str, labels: Mapping[str, str] | None = None, *, namespace: str = "work", **spec: Any) -> PodView:
    metadata = {"name": name, "namespace": namespace, "uid": name, "labels": dict(labels or {"app": "a"})}
    return view_of({"metadata": metadata, "spec": {"containers": [], **spec}})


def _node(name: str, zone: str | None, *pods: PodView) -> NodeState:
    labels = {"host": name} if zone is None else {"host": name, "zone": zone}
    node = NodeState(name=name, traits=NodeTraits(name, labels), allocatable={})
    for pod in pods:
        node.add(pod)
    return node


def _refused(pod: PodView, *nodes: NodeState) -> dict[str, str]:
    return {name: why.reasons[0] for name, why in spread_misfits(pod, nodes).items()}


def test_a_pod_without_constraints_goes_anywhere() -> None:
    """Nothing is counted for it."""
    assert _refused(_pod("new"), _node("n1", "x", _pod("old"))) == {}


def test_the_fuller_domain_is_refused() -> None:
    """Both nodes of zone x count together; zone y has fewer."""
    nodes = (_node("n1", "x", _pod("old")), _node("n2", "x"), _node("n3", "y"))
    assert _refused(_pod("new", topologySpreadConstraints=[CONSTRAINT]), *nodes) == {"n1": SPREAD, "n2": SPREAD}


def test_a_node_without_the_label_is_refused() -> None:
    """It belongs to no domain."""
    nodes = (_node("n1", "x"), _node("n2", None))
    refused = _refused(_pod("new", topologySpreadConstraints=[CONSTRAINT]), *nodes)
    assert refused == {"n2": f"{SPREAD} (missing required label)"}


@pytest.mark.parametrize(
    "other", [_pod("other", {"app": "b"}), _pod("other", namespace="elsewhere")], ids=["labels", "namespace"]
)
def test_only_selected_pods_of_the_namespace_count(other: PodView) -> None:
    """A pod of another app or namespace does not make its node fuller."""
    nodes = (_node("n1", "x", other), _node("n2", "y"))
    assert _refused(_pod("new", topologySpreadConstraints=[CONSTRAINT]), *nodes) == {}


def test_domains_that_the_pod_may_not_use_do_not_count() -> None:
    """An empty node outside of the pod's node selector must not make every other one too full."""
    pod = _pod("new", topologySpreadConstraints=[CONSTRAINT], nodeSelector={"host": "n1"})
    assert _refused(pod, _node("n1", "x", _pod("old")), _node("n2", "y")) == {}


def test_a_pod_that_does_not_select_itself_adds_nothing() -> None:
    """Its own arrival leaves the skew as it is."""
    pod = _pod("new", {"app": "b"}, topologySpreadConstraints=[CONSTRAINT])
    assert _refused(pod, _node("n1", "x", _pod("old")), _node("n2", "y")) == {}


def test_schedule_anyway_is_no_demand() -> None:
    """It only scores."""
    soft = {**CONSTRAINT, "whenUnsatisfiable": "ScheduleAnyway"}
    nodes = (_node("n1", "x", _pod("old")), _node("n2", "y"))
    assert _refused(_pod("new", topologySpreadConstraints=[soft]), *nodes) == {}
