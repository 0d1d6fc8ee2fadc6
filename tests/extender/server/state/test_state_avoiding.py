"""Nodes where pods fail are named last, and never excluded."""

from extender.scheduling.preempting.victims import Victims
from extender.server.state.outcomes import Passed, Rejected
from tests.extender.cluster import Cluster
from tests.extender.objects import Json, node, pod, uuid

REFUSED = {"phase": "Failed", "reason": "UnexpectedAdmissionError"}


def owned(name: str, units: int, **more: object) -> Json:
    """A pod of one Job."""
    body = pod(name, units, **more)  # type: ignore[arg-type]  # as the builder takes them
    body["metadata"]["ownerReferences"] = [{"kind": "Job", "name": "job", "uid": "uid-job", "controller": True}]
    return body


def places(cluster: Cluster, pods: int, bad: str, status: Json) -> list[str]:
    """The nodes of pods that come one after another, where each pod on the node `bad` ends with `status` at once."""
    nodes = []
    for at in range(pods):
        name = f"p{at}"
        where = cluster.hold(owned(name, 8)).node
        nodes.append(where)
        plan = cluster.assume(name, where)
        cluster.show_bound(name, 8, next(iter(plan.footprint.shares)), where, version=10)
        if where == bad:
            cluster.show(owned(name, 8, node=where, version=11, status=status))
    return nodes


def test_a_node_that_refuses_every_pod_is_no_black_hole() -> None:
    """Of 12 pods the first went there, not all."""
    cluster = Cluster(node("a", 64, 64), node("b", 64, 64))
    assert places(cluster, 12, "a", REFUSED) == ["a", *["b"] * 11]
    assert [(failure.node, failure.reason) for failure in cluster.failures] == [("a", "UnexpectedAdmissionError")]


def test_a_node_where_the_pods_of_a_job_fail_at_once_is_avoided_by_its_next_ones() -> None:
    """Containers that ran count for their owner alone."""
    ran = {"phase": "Failed", "containerStatuses": [{"name": "main", "containerID": "containerd://1", "state": {}}]}
    cluster = Cluster(node("a", 64, 64), node("b", 64, 64))
    assert places(cluster, 4, "a", ran) == ["a", "b", "b", "b"]
    assert cluster.state.avoided(cluster.record(pod("other", 8))) == {}


def test_an_attempt_that_failed_after_filter_goes_elsewhere() -> None:
    """Eight tries of one pod that never comes to bind go to both nodes in turn."""
    cluster = Cluster(node("a", 64), node("b", 64))
    assert [cluster.hold(pod("slow", 8)).node for _ in range(8)] == ["a", "b"] * 4
    assert cluster.state.avoided(cluster.record(pod("other", 8))) == {}


def test_a_node_that_failed_pods_is_taken_when_nothing_else_is_left() -> None:
    """It is preferred less, not excluded."""
    cluster = Cluster(node("a", 64), node("b", 8))
    assert places(cluster, 3, "a", REFUSED)[:2] == ["b", "a"]
    assert cluster.hold(pod("again", 8)).node == "a"


def test_a_pod_that_fits_nowhere_is_told_the_reason_of_every_node() -> None:
    """Partition: those with failures are not left out of the answer."""
    cluster = Cluster(node("a", 8), node("b", 8))
    cluster.hold(pod("slow", 8), "a")
    cluster.hold(pod("slow", 8), "a", "b")
    outcome = cluster.filter(pod("slow", 9))
    assert isinstance(outcome, Rejected)
    assert set(outcome.reasons) == {"a", "b"}


def test_several_answers_have_the_nodes_with_failures_last() -> None:
    """And prioritize scores them 0."""
    cluster = Cluster(node("a", 64), node("b", 64), node("c", 64), answers=3)
    first = cluster.filter(pod("slow", 8))
    again = cluster.filter(pod("slow", 8))
    assert isinstance(first, Passed)
    assert isinstance(again, Passed)
    assert (list(first.names), list(again.names)) == (["a", "b", "c"], ["b", "c", "a"])
    assert cluster.state.prioritize(cluster.record(pod("slow", 8)), "abc") == [("a", 0), ("b", 10), ("c", 10)]


def test_evictions_are_not_made_on_a_node_that_fails_pods_while_others_offer_them() -> None:
    """An eviction for nothing."""
    cluster = Cluster(node("a", 8), node("b", 8))
    for name in "ab":
        cluster.show_bound(f"low-{name}", 8, uuid(name, 0), name)
    high = pod("high", 8, priority=100)
    cluster.state.filter(cluster.record(high), "ab")
    candidates = {name: Victims((f"uid-low-{name}",)) for name in "ab"}
    assert set(cluster.state.preempt(cluster.record(high), candidates)) == {"a", "b"}
    cluster.show(owned("refused", 8, version=20))
    cluster.show(owned("refused", 8, node="a", version=21))
    cluster.show(owned("refused", 8, node="a", version=22, status=REFUSED))
    assert set(cluster.state.preempt(cluster.record(high), candidates)) == {"b"}
