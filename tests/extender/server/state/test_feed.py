"""From raw lists and watch lines into the state, whatever is in them."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.kube.listing import parse_event
from extender.kube.objects import DecodeError
from extender.scheduling.ledger.events import PodRecord
from extender.server.state.feed import MAX_LOGGED, NodeSink, PodSink
from tests.extender.cluster import Cluster
from tests.extender.objects import Json, allocation, node, pod, raw, uuid


def bound(name: str, units: int, version: int) -> Json:
    """A pod on GPU 0 of node a."""
    plan = allocation({"main": {uuid("a", 0): units}})
    return pod(name, units, node="a", version=version, annotations={"allocation": plan})


def sinks(cluster: Cluster) -> tuple[NodeSink, PodSink]:
    """Both."""
    return NodeSink(cluster.state, cluster.decoder), PodSink(cluster.state, cluster.decoder)


def test_lists_replace_what_was_known() -> None:
    """Nodes and pods that are no longer in the list are gone."""
    cluster = Cluster()
    nodes, pods = sinks(cluster)
    nodes.replaced(nodes.read([raw(node("a", 16)), raw(node("b", 16))]), "10")
    pods.replaced(pods.read([raw(bound("p0", 4, 5)), raw(bound("p1", 8, 6))]), "10")
    assert cluster.free("a") == [4]
    nodes.replaced(nodes.read([raw(node("a", 16))]), "20")
    pods.replaced(pods.read([raw(bound("p1", 8, 6))]), "20")
    assert (cluster.free("a"), list(cluster.state.snapshot().nodes)) == ([8], ["a"])


def test_changes_are_applied_one_by_one() -> None:
    """Added, modified and deleted, of both kinds."""
    cluster = Cluster()
    nodes, pods = sinks(cluster)
    nodes.changed("ADDED", raw(node("a", 16)))
    pods.changed("ADDED", raw(pod("p0", 4, version=5)))
    pods.changed("MODIFIED", raw(bound("p0", 4, 6)))
    assert cluster.free("a") == [12]
    pods.changed("DELETED", raw(bound("p0", 4, 7)))
    assert cluster.free("a") == [16]
    nodes.changed("MODIFIED", raw(node("a", 32, version=2)))
    assert cluster.free("a") == [32]
    nodes.changed("DELETED", raw(node("a", 32, version=3)))
    assert list(cluster.state.snapshot().nodes) == []


def test_lesson_10_a_recreated_node_has_no_ghost_usage() -> None:
    """Removed and created again with other GPUs."""
    cluster = Cluster()
    nodes, pods = sinks(cluster)
    nodes.changed("ADDED", raw(node("a", 16)))
    pods.changed("ADDED", raw(bound("p0", 4, 5)))
    nodes.changed("DELETED", raw(node("a", 16, version=6)))
    pods.changed("DELETED", raw(bound("p0", 4, 7)))
    nodes.changed("ADDED", raw(node("a", 8, 8, version=8)))
    assert cluster.free("a") == [8, 8]


def test_lesson_8_a_bound_pod_whose_node_is_gone_does_no_harm() -> None:
    """It is listed before its node, or its node never comes."""
    cluster = Cluster()
    nodes, pods = sinks(cluster)
    pods.replaced(pods.read([raw(bound("p0", 4, 5))]), "10")
    assert cluster.state.counts()["pods"] == 1
    nodes.replaced(nodes.read([raw(node("a", 16))]), "10")
    assert cluster.free("a") == [12]


def test_an_ended_pod_frees_its_gpu() -> None:
    """With the statuses that a real kubelet writes."""
    cluster = Cluster(node("a", 16))
    _, pods = sinks(cluster)
    pods.changed("ADDED", raw(bound("p0", 4, 5)))
    ended = bound("p0", 4, 6)
    ended["status"] = {
        "phase": "Succeeded",
        "containerStatuses": [
            {"name": "main", "state": {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": None}}}
        ],
    }
    pods.changed("MODIFIED", raw(ended))
    assert cluster.free("a") == [16]


def test_one_unreadable_object_does_not_hide_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """It is left out of the list, with an error in the log; many of them make few lines."""
    cluster = Cluster(node("a", 16))
    _, pods = sinks(cluster)
    junk = [b"{", b'{"metadata":{"name":"\xff"},"spec":{}}', b"[" * 100_000, b"null", b"{}"]
    with caplog.at_level(logging.ERROR):
        pods.replaced(pods.read([*junk, raw(bound("p0", 4, 5))]), "10")
    assert cluster.free("a") == [12]
    assert len(caplog.records) == MAX_LOGGED + 1
    assert caplog.records[-1].getMessage() == f"{len(junk) - MAX_LOGGED} more objects of the list can't be read"


def test_an_unreadable_change_is_the_reflectors_to_log() -> None:
    """It knows the event; the state stays as it was."""
    cluster = Cluster(node("a", 16))
    for sink in sinks(cluster):
        with pytest.raises(DecodeError):
            sink.changed("ADDED", b"{}")
    assert cluster.free("a") == [16]


def line(kind: str, body: object) -> bytes:
    """A line of a watch."""
    return raw({"type": kind, "object": body})


kinds = st.sampled_from(["ADDED", "MODIFIED", "DELETED"])
shows = st.tuples(kinds, st.sampled_from(["p0", "p1"]), st.integers(1, 9), st.booleans(), st.sampled_from([2, 4]))


@given(st.lists(shows, max_size=12))
def test_one_go_and_step_by_step_come_to_the_same(changes: list[tuple[str, str, int, bool, int]]) -> None:
    """For changes in any order, of any age, and pods that the hook is shown."""
    seen: list[list[PodRecord]] = [[], []]
    clusters = [Cluster(node("a", 16)) for _ in seen]
    one, other = (PodSink(each.state, each.decoder, shown.extend) for each, shown in zip(clusters, seen, strict=True))
    for kind, name, version, is_bound, units in changes:
        body = bound(name, units, version) if is_bound else pod(name, units, version=version)
        whole = line(kind, body)
        event = parse_event(whole)
        assert one.take(whole) == event.resource_version
        other.changed(event.kind, event.raw)
    assert seen[0] == seen[1]
    assert clusters[0].state.snapshot() == clusters[1].state.snapshot()
    assert clusters[0].state.pending() == clusters[1].state.pending()


@pytest.mark.parametrize(
    "odd",
    [
        line("BOOKMARK", {"kind": "Pod", "metadata": {"resourceVersion": "9"}, "spec": {"containers": None}}),
        line("BOOKMARK", bound("p0", 4, 5)),
        line("ERROR", {"kind": "Status", "code": 410, "message": "too old"}),
        line("ADDED", {"metadata": {"uid": "u", "resourceVersion": "5"}}),
        line("ADDED", bound("p0", 4, 5) | {"metadata": {"uid": "u", "resourceVersion": ""}}),
        line("DELETED", {"metadata": {"uid": "u", "resourceVersion": ""}, "spec": {}}),
        line("DELETED", {"metadata": {"uid": "", "resourceVersion": "5"}, "spec": {}}),
        line("ADDED", bound("p0", 4, 5))[:-1],
        b"",
    ],
)
def test_what_is_no_plain_change_is_left_to_be_read_step_by_step(odd: bytes) -> None:
    """Bookmarks, errors, and what lacks something: nothing of it is taken."""
    cluster = Cluster(node("a", 16))
    for sink in sinks(cluster):
        assert sink.take(odd) == ""
    assert (cluster.free("a"), cluster.state.counts()["pods"]) == ([16], 0)
