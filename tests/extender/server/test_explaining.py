"""What `explain` says of a pod in each of its states; everything is ready for JSON."""

from typing import Any

import msgspec

from extender.server.explaining import explain
from extender.server.record.decisions import MAX_OF_A_POD
from tests.extender.cluster import Cluster
from tests.extender.objects import allocation, node, pod, uuid


def explained(cluster: Cluster, name: str = "train", *, limit: int = 10) -> dict[str, Any]:
    """The answer after a round trip through JSON."""
    answer = explain(cluster.state, "default", name, limit=limit)
    assert answer is not None
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(answer))
    return decoded


def test_of_an_unknown_pod_there_is_nothing_to_say() -> None:
    """Nor of one that asks for no GPU."""
    cluster = Cluster(node("a", 16))
    cluster.show(pod("plain", node="a"))
    assert explain(cluster.state, "default", "train", limit=10) is None
    assert explain(cluster.state, "default", "plain", limit=10) is None


def test_a_pending_pod_is_told_the_nearest_reason_and_each_node_with_numbers() -> None:
    """The largest hole first, at most `limit` nodes."""
    cluster = Cluster(node("a", 16), node("b", 16), node("c", 4))
    cluster.show_bound("pa", 10, uuid("a", 0), "a")
    cluster.show_bound("pb", 12, uuid("b", 0), "b")
    cluster.filter(pod("train", 8))
    answer = explained(cluster, limit=2)
    assert (answer["state"], answer["why"], answer["policy"]) == ("pending", "not enough free GPU memory", "binpack")
    assert answer["reasons"] == {
        "not enough free GPU memory": 2,
        "request is larger than the GPUs of the node": 1,
    }
    assert [each["node"] for each in answer["nodes"]] == ["a", "b"]
    (gpu,) = answer["nodes"][0]["gpus"]
    assert gpu["why"] == "6Gi of 16Gi free; 8Gi needed"
    assert answer["decision"]["verdict"] == "rejected"
    assert answer["request"]["demands"] == [{"units": 8, "gpus": 1, "whole": False, "corePercent": 0}]


def test_many_nodes_without_gpus_do_not_hide_the_reason() -> None:
    """Least is missing on the full node; kubectl gpupack explain says the same. No node need be shown for it."""
    cluster = Cluster(node("cpu-1"), node("cpu-2"), node("a", 16))
    cluster.show_bound("other", 16, uuid("a", 0), "a")
    cluster.show(pod("train", 8))
    assert (explained(cluster, limit=0)["why"], explained(cluster, limit=0)["nodes"]) == (
        "not enough free GPU memory",
        [],
    )


def test_a_pod_that_waits_for_compute_is_told_so_per_gpu() -> None:
    """Memory is free on the GPU."""
    cluster = Cluster(node("a", 16))
    cluster.show(pod("busy", 1, core=70, node="a", annotations={"allocation": allocation({"main": {uuid("a", 0): 1}})}))
    cluster.show(pod("train", 8, core=50))
    answer = explained(cluster)
    assert answer["reasons"] == {"GPU memory is free but not enough compute (gpu-core) on the same GPU": 1}
    assert answer["nodes"][0]["gpus"][0]["why"] == "gpu-core 50 wanted, 30 of 100 percent free"
    assert answer["request"]["demands"] == [{"units": 8, "gpus": 1, "whole": False, "corePercent": 50}]


def test_a_pod_with_room_held_says_where_and_for_how_long() -> None:
    """Its own hold does not stand in its way."""
    cluster = Cluster(node("a", 8))
    cluster.hold(pod("train", 8))
    cluster.clock.advance(4)
    answer = explained(cluster)
    assert answer["why"] == "room is held for it on a"
    assert answer["held"] == {"node": "a", "forSeconds": 4.0, "endsInSeconds": 26.0}
    assert answer["nodes"][0]["fits"] is True
    assert answer["nodes"][0]["wouldGet"] == {"main": {uuid("a", 0): 8}}


def test_a_pod_that_would_fit_waits_for_kube_scheduler() -> None:
    """Nobody has asked about it."""
    cluster = Cluster(node("a", 16))
    cluster.show(pod("train", 8))
    assert explained(cluster)["why"].startswith("it fits now; kube-scheduler has not asked again yet")


def test_without_nodes_that_is_what_is_said() -> None:
    """Nothing is installed yet."""
    cluster = Cluster()
    cluster.show(pod("train", 8))
    assert explained(cluster)["why"] == "no node is known to gpupack"


def test_a_bound_pod_says_where_why_and_when() -> None:
    """From its annotation, which outlives this process."""
    cluster = Cluster(node("a", 16))
    plan = allocation({"main": {uuid("a", 0): 8}})[:-1] + ',"policy":"spread","at":"2026-01-01T00:00:00Z"}'
    cluster.show(pod("train", 8, node="a", annotations={"allocation": plan}))
    answer = explained(cluster)
    assert (answer["state"], answer["node"], answer["policy"]) == ("bound", "a", "spread")
    assert (answer["why"], answer["placedAt"]) == ("policy spread chose it", "2026-01-01T00:00:00Z")
    assert answer["gpus"] == [
        {"uuid": uuid("a", 0), "index": 0, "place": "0", "model": "Tesla T4", "whole": False, "units": 8},
    ]


def test_a_pod_bound_by_hand_is_said_to_be_charged_where_it_hurts() -> None:
    """Nobody knows its GPU."""
    cluster = Cluster(node("a", 16))
    cluster.show(pod("train", 8, node="a"))
    answer = explained(cluster)
    assert (answer["state"], answer["gpus"]) == ("bound", [])
    assert "charged to the emptiest GPU until the device plugin reports" in answer["why"]


def test_a_pod_whose_node_is_gone_is_still_explained() -> None:
    """Lesson 8: GPUs without a model, and no error."""
    cluster = Cluster(node("a", 16))
    cluster.show_bound("train", 8, uuid("a", 0), "a")
    cluster.drop_node("a")
    (gpu,) = explained(cluster)["gpus"]
    assert (gpu["uuid"], gpu["model"], gpu["index"], gpu["units"]) == (uuid("a", 0), "", None, 8)


def test_a_senseless_request_is_the_whole_explanation() -> None:
    """Rejected, and by what."""
    cluster = Cluster(node("a", 16))
    cluster.show(pod("train", 8, annotations={"policy": "best"}))
    answer = explained(cluster)
    assert answer["state"] == "rejected"
    assert answer["why"].startswith("policy 'best': expected one of ")


def test_an_ended_pod_holds_nothing() -> None:
    """And that is said."""
    cluster = Cluster(node("a", 16))
    cluster.show(pod("train", 8, node="a", status={"phase": "Succeeded"}))
    answer = explained(cluster)
    assert (answer["state"], answer["why"]) == ("ended", "the pod has ended and holds nothing")


def test_the_decisions_on_a_pod_are_read_back_oldest_first() -> None:
    """And it is said since when this process remembers."""
    cluster = Cluster(node("a", 4))
    cluster.filter(pod("train", 8))
    cluster.add_node(node("b", 16))
    plan = cluster.hold(pod("train", 8, version=2))
    cluster.decisions.bound(cluster.record(pod("train", 8)), "binpack", plan)
    answer = explained(cluster)
    assert [each["verdict"] for each in answer["decisions"]] == ["rejected", "bound"]
    assert answer["decision"] == answer["decisions"][-1]
    assert answer["unknown"] == ("this extender remembers nothing from before 2026-01-31T12:00:00.000Z; the log has it")


def test_it_is_said_how_many_decisions_are_no_longer_known() -> None:
    """The log has them."""
    cluster = Cluster(node("a", 4))
    cluster.show(pod("train", 8))
    for at in range(MAX_OF_A_POD + 2):
        cluster.decisions.not_bound(cluster.record(pod("train", 8)), "a", f"API server: {at}")
    assert explained(cluster)["unknown"] == "2 earlier decisions are no longer known here; the log has them"


def test_of_a_pod_that_is_gone_the_decisions_are_still_told() -> None:
    """An audit asks afterwards."""
    cluster = Cluster(node("a", 16))
    plan = cluster.hold(pod("train", 8))
    cluster.decisions.bound(cluster.record(pod("train", 8)), "binpack", plan)
    cluster.delete("train")
    answer = explained(cluster)
    assert (answer["state"], answer["node"]) == ("gone", "")
    assert answer["decision"]["gpus"] == {"main": {uuid("a", 0): 8}}


def test_a_pod_whose_attempts_failed_somewhere_is_told_which_node_comes_last() -> None:
    """And why."""
    cluster = Cluster(node("a", 16), node("b", 16))
    cluster.hold(pod("train", 8))
    cluster.hold(pod("train", 8))
    assert explained(cluster)["avoided"] == [
        "a comes last: in the last 5 minutes 1 attempt to place this pod there ended before binding"
    ]


def test_a_pod_that_others_are_evicted_for_says_where() -> None:
    """Nothing is held for it yet."""
    cluster = Cluster(node("a", 16))
    plan = {"allocation": allocation({"main": {uuid("a", 0): 16}})}
    cluster.show(pod("low", 16, node="a", annotations=plan, deleting=True))
    status = {"phase": "Pending", "nominatedNodeName": "a"}
    cluster.show(pod("train", 16, priority=9, status=status))
    answer = explained(cluster)
    assert answer["why"] == "pods are being evicted for it on a, and what they leave is kept for it"
    assert (answer["held"], answer["state"]) == (None, "pending")
