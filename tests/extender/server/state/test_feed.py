"""Raw lists and watch lines reach the state, whatever is in them."""

from typing import Any

import pytest

from extender.kube.listing import identity_of
from extender.kube.objects import DecodeError, Identity
from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.preempting.victims import Victims
from extender.server.state.feed import BudgetSink, NodeSink, PodSink
from tests.extender.cluster import Cluster
from tests.extender.objects import Json, allocation, node, pod, raw, uuid


def bound(name: str, units: int, version: int) -> Json:
    """A pod on GPU 0 of node a."""
    plan = allocation({"main": {uuid("a", 0): units}})
    return pod(name, units, node="a", version=version, annotations={"allocation": plan})


def sinks(cluster: Cluster) -> tuple[NodeSink, PodSink]:
    """Both."""
    return NodeSink(cluster.state, cluster.decoder), PodSink(cluster.state, cluster.decoder)


def listed(sink: Any, version: str, *bodies: bytes, rewound: bool = False) -> None:
    """Give a sink a full list."""
    sink.replaced([sink.read(body) for body in bodies], (), version, rewound=rewound)


def test_lists_replace_what_was_known() -> None:
    """Nodes and pods that are no longer in the list are gone."""
    cluster = Cluster()
    nodes, pods = sinks(cluster)
    listed(nodes, "10", raw(node("a", 16)), raw(node("b", 16)))
    listed(pods, "10", raw(bound("p0", 4, 5)), raw(bound("p1", 8, 6)))
    assert cluster.free("a") == [4]
    listed(nodes, "20", raw(node("a", 16)))
    listed(pods, "20", raw(bound("p1", 8, 6)))
    assert (cluster.free("a"), list(cluster.state.snapshot().nodes)) == ([8], ["a"])


def test_changes_are_applied_one_by_one() -> None:
    """Added, modified and deleted, of both kinds."""
    cluster = Cluster()
    nodes, pods = sinks(cluster)
    nodes.changed(nodes.read(raw(node("a", 16))))
    pods.changed(pods.read(raw(pod("p0", 4, version=5))))
    pods.changed(pods.read(raw(bound("p0", 4, 6))))
    assert cluster.free("a") == [12]
    pods.deleted(identity_of(raw(bound("p0", 4, 7))))
    assert cluster.free("a") == [16]
    nodes.changed(nodes.read(raw(node("a", 32, version=2))))
    assert cluster.free("a") == [32]
    nodes.deleted(identity_of(raw(node("a", 32, version=3))))
    assert list(cluster.state.snapshot().nodes) == []


def test_lesson_10_a_recreated_node_has_no_ghost_usage() -> None:
    """Removed and created again with other GPUs."""
    cluster = Cluster()
    nodes, pods = sinks(cluster)
    nodes.changed(nodes.read(raw(node("a", 16))))
    pods.changed(pods.read(raw(bound("p0", 4, 5))))
    nodes.deleted(identity_of(raw(node("a", 16, version=6))))
    pods.deleted(identity_of(raw(bound("p0", 4, 7))))
    nodes.changed(nodes.read(raw(node("a", 8, 8, version=8))))
    assert cluster.free("a") == [8, 8]


def test_lesson_8_a_bound_pod_whose_node_is_gone_does_no_harm() -> None:
    """It is listed before its node, or its node never comes."""
    cluster = Cluster()
    nodes, pods = sinks(cluster)
    listed(pods, "10", raw(bound("p0", 4, 5)))
    assert cluster.state.counts()["pods"] == 1
    listed(nodes, "10", raw(node("a", 16)))
    assert cluster.free("a") == [12]


@pytest.mark.parametrize(("version", "rewound"), [("1000030", False), ("20", True)], ids=["bumped", "not bumped"])
def test_a_restored_storage_is_believed(version: str, *, rewound: bool) -> None:
    """What was bound and deleted since the backup was not: the pods are where the list says, of whatever version."""
    cluster = Cluster()
    nodes, pods = sinks(cluster)
    listed(nodes, "10", raw(node("a", 16, 16, version=8)))
    listed(pods, "10", raw(bound("kept", 4, 5)), raw(pod("later", 8, version=6)), raw(bound("back", 2, 7)))
    nodes.changed(nodes.read(raw(node("a", 16, version=30))))
    pods.changed(pods.read(raw(bound("later", 8, 25))))
    pods.deleted(identity_of(raw(bound("back", 2, 26))))
    pods.changed(pods.read(raw(bound("new", 1, 27))))
    assert cluster.free("a") == [3]
    listed(nodes, version, raw(node("a", 16, 16, version=8)), rewound=rewound)
    listed(
        pods,
        version,
        raw(bound("kept", 4, 5)),
        raw(pod("later", 8, version=6)),
        raw(bound("back", 2, 7)),
        rewound=rewound,
    )
    assert cluster.free("a") == [10, 16]
    assert [record.name for record in cluster.state.pending()] == ["later"]
    pods.changed(pods.read(raw(bound("later", 8, 21 if rewound else 1_000_031))))
    assert cluster.free("a") == [2, 16]


def test_an_ended_pod_frees_its_gpu() -> None:
    """With the statuses that a real kubelet writes."""
    cluster = Cluster(node("a", 16))
    _, pods = sinks(cluster)
    pods.changed(pods.read(raw(bound("p0", 4, 5))))
    ended = bound("p0", 4, 6)
    ended["status"] = {
        "phase": "Succeeded",
        "containerStatuses": [
            {"name": "main", "state": {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": None}}}
        ],
    }
    pods.changed(pods.read(raw(ended)))
    assert cluster.free("a") == [16]


def test_an_unreadable_object_keeps_what_an_older_version_said() -> None:
    """Listed and not readable any more: the pod still holds its memory, the node still has its GPUs."""
    cluster = Cluster()
    nodes, pods = sinks(cluster)
    listed(nodes, "10", raw(node("a", 16)))
    listed(pods, "10", raw(bound("p0", 4, 5)), raw(bound("p1", 2, 6)))
    nodes.replaced([], [Identity(name="a", uid="uid-a", resource_version="11")], "20", rewound=False)
    unreadable = [Identity("default", "p0", "uid-p0", "11"), Identity("default", "new", "uid-new", "12")]
    pods.replaced([], unreadable, "20", rewound=False)
    assert cluster.free("a") == [12]


def test_an_unreadable_change_leaves_the_state_as_it_was() -> None:
    """The reflector logs and counts it."""
    cluster = Cluster(node("a", 16))
    for sink in sinks(cluster):
        with pytest.raises(DecodeError):
            sink.read(b"{}")
    assert cluster.free("a") == [16]


def test_the_hook_is_shown_listed_and_changed_pods() -> None:
    """And no deleted ones."""
    cluster, seen = Cluster(node("a", 16)), list[PodRecord]()
    pods = PodSink(cluster.state, cluster.decoder, seen.extend)
    listed(pods, "10", raw(pod("p0", 4, version=5)))
    pods.changed(pods.read(raw(pod("p1", 4, version=11))))
    pods.deleted(identity_of(raw(pod("p1", 4, version=12))))
    assert [record.name for record in seen] == ["p0", "p1"]


def test_budgets_count_from_their_first_list_on() -> None:
    """Until then, as without the right to read them, kube-scheduler's count stands; one that cannot be read stays."""
    cluster = Cluster(node("a", 16))
    cluster.show(bound("low", 16, 5))
    budgets = BudgetSink(cluster.state)
    urgent = cluster.record(pod("urgent", 16, priority=9))

    def violations() -> int:
        return cluster.state.preempt(urgent, {"a": Victims(("uid-low",), 7)})["a"].pdb_violations

    def body(allowed: int) -> bytes:
        metadata = {"name": "pdb", "namespace": "default", "uid": "uid-pdb", "resourceVersion": "1"}
        return raw({"metadata": metadata, "spec": {"selector": {}}, "status": {"disruptionsAllowed": allowed}})

    assert violations() == 7
    listed(budgets, "1", body(0))
    assert violations() == 1
    budgets.changed(budgets.read(body(1)))
    assert violations() == 0
    budgets.changed(budgets.read(body(0)))
    budgets.replaced([], [Identity("default", "pdb", "uid-pdb", "2")], "2", rewound=False)
    assert violations() == 1
    budgets.deleted(identity_of(body(0)))
    assert violations() == 0
