"""The latest decision on each pod: what is remembered, for how many pods, and what is told."""

from datetime import datetime, timedelta, timezone

from extender.contract.units import Units
from extender.scheduling.fitting.reasons import Misfit
from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.preempting.victims import Victims
from extender.server.record.decisions import MAX_OF_A_POD, Decided, Decision, Decisions, timestamp
from extender.server.state.outcomes import Rejected
from tests.extender.cluster import NOON, Cluster
from tests.extender.objects import allocation, node, pod, uuid

Told = list[Decided]


def decision(cluster: Cluster, name: str = "train") -> Decision:
    """The latest one on a pod."""
    found = cluster.decisions.of(f"uid-{name}")
    assert found is not None
    return found


def test_a_timestamp_is_utc_with_milliseconds() -> None:
    """RFC 3339, whatever the zone of the clock."""
    here = datetime(2026, 1, 31, 14, 30, 0, 123_456, tzinfo=timezone(timedelta(hours=2)))
    assert timestamp(here) == "2026-01-31T12:30:00.123Z"


def test_a_held_pod_is_remembered_with_its_plan_and_the_other_nodes() -> None:
    """Where, by which policy, at which cost, and why not elsewhere."""
    cluster = Cluster(node("a", 16), node("b", 4))
    plan = cluster.hold(pod("train", 8))
    assert decision(cluster) == Decision(
        verdict="held",
        at="2026-01-31T12:00:00.000Z",
        policy="binpack",
        node="a",
        gpus={"main": {uuid("a", 0): Units(8)}},
        cost=plan.cost,
        feasible=1,
        rejected={"request is larger than the GPUs of the node": 1},
    )


def test_lesson_21_a_refusal_by_a_thousand_nodes_is_told_once_by_reason() -> None:
    """Reasons are counted; no node is listed."""
    cluster = Cluster(*(node(f"n{at}", 4) for at in range(999)), node("large", 8))
    cluster.show_bound("other", 8, uuid("large", 0), "large")
    assert isinstance(cluster.filter(pod("train", 8)), Rejected)
    (told,) = cluster.told
    assert (told.namespace, told.name, told.uid, told.decision.verdict) == ("default", "train", "uid-train", "rejected")
    assert told.decision.rejected == {
        "request is larger than the GPUs of the node": 999,
        "not enough free GPU memory": 1,
    }


def test_room_that_is_held_is_half_a_decision_and_not_told() -> None:
    """Bind tells where the pod went."""
    cluster = Cluster(*(node(f"n{at}", 16) for at in range(1000)))
    cluster.hold(pod("train", 8))
    assert cluster.told == []


def test_the_same_refusal_again_is_counted_not_told() -> None:
    """With the latest numbers; which nodes refuse for a reason is no news."""
    cluster = Cluster(node("a", 4), node("b", 4))
    cluster.filter(pod("train", 8), "a")
    cluster.filter(pod("train", 8))
    assert len(cluster.told) == 1
    latest = decision(cluster)
    assert (latest.times, latest.rejected) == (2, {"request is larger than the GPUs of the node": 2})
    assert latest.last_at == "2026-01-31T12:00:00.000Z"


def test_a_refusal_for_another_reason_is_told() -> None:
    """And both are remembered, oldest first."""
    cluster = Cluster(node("a", 4))
    cluster.filter(pod("train", 8))
    cluster.add_node(node("a", 4, 4, version=2))
    cluster.filter(pod("train", 8, version=2))
    cluster.add_node(node("a", 16, version=3))
    cluster.show_bound("other", 12, uuid("a", 0), "a")
    cluster.filter(pod("train", 8, version=3))
    history = cluster.decisions.history("uid-train")
    assert history is not None
    assert [tuple(each.rejected) for each in history.decisions] == [
        ("request is larger than the GPUs of the node",),
        ("not enough free GPU memory",),
    ]
    assert [tuple(each.decision.rejected) for each in cluster.told] == [
        tuple(each.rejected) for each in history.decisions
    ]


def test_two_refusals_that_alternate_are_told_once_each() -> None:
    """A pod that goes to and fro must not fill the log."""
    decisions = Decisions(lambda: NOON, report=(told := Told()).append)
    for reason in (Misfit.FULL, Misfit.FRAGMENTED, Misfit.FULL, Misfit.FRAGMENTED):
        decisions.rejected(PodRecord("uid-1"), {"a": reason})
    assert len(told) == 2


def test_a_refusal_after_a_bind_failed_is_told_again() -> None:
    """Something has happened in between."""
    decisions = Decisions(lambda: NOON, report=(told := Told()).append)
    record = PodRecord("uid-1")
    decisions.rejected(record, {"a": Misfit.FULL})
    decisions.not_bound(record, "a", "API server: 500")
    decisions.rejected(record, {"a": Misfit.FULL})
    assert [each.decision.verdict for each in told] == ["rejected", "not bound", "rejected"]


def test_a_senseless_request_is_told_with_what_it_says() -> None:
    """Once, however often kube-scheduler asks."""
    cluster = Cluster(node("a", 16))
    for _ in range(2):
        cluster.filter(pod("train", 8, annotations={"policy": "best"}))
    (told,) = cluster.told
    assert told.decision.message.startswith("policy 'best': expected one of ")


def test_evictions_that_would_make_room_are_told_with_their_victims() -> None:
    """By node; the same answer again is counted."""
    cluster = Cluster(node("a", 16))
    cluster.show_bound("low", 12, uuid("a", 0), "a")
    for _ in range(2):
        cluster.state.preempt(cluster.record(pod("urgent", 8, priority=9)), {"a": Victims(("uid-low",))})
    (told,) = cluster.told
    assert (told.decision.verdict, told.decision.victims) == ("preempting", {"a": ("uid-low",)})
    assert decision(cluster, "urgent").times == 2


def test_evictions_that_make_no_room_are_no_decision() -> None:
    """Nothing happens."""
    cluster = Cluster(node("a", 4))
    assert cluster.state.preempt(cluster.record(pod("urgent", 8, priority=9)), {"a": Victims(())}) == {}
    assert cluster.told == []


def test_the_next_best_node_is_what_the_best_was_compared_with() -> None:
    """Binpack fills the fuller node."""
    cluster = Cluster(node("a", 16), node("b", 16), node("c", 4))
    cluster.show_bound("other", 4, uuid("b", 0), "b")
    plan = cluster.hold(pod("train", 8))
    runner_up = decision(cluster).runner_up
    assert runner_up is not None
    assert (plan.node, runner_up.node, plan.cost < runner_up.cost) == ("b", "a", True)


def test_a_whole_gpu_is_remembered_as_such() -> None:
    """From filter to bind: the units alone do not tell it from a share as large as the GPU."""
    cluster = Cluster(node("a", 16))
    plan = cluster.hold(pod("train", gpus=1))
    assert decision(cluster).whole == (uuid("a", 0),)
    cluster.decisions.bound(cluster.record(pod("train", gpus=1)), "binpack", plan)
    assert (decision(cluster).verdict, decision(cluster).whole) == ("bound", (uuid("a", 0),))


def bound(cluster: Cluster, gpu: str) -> None:
    """Bind `train` and let the watch show that it got `gpu`."""
    plan = cluster.hold(pod("train", 8))
    cluster.decisions.bound(cluster.record(pod("train", 8)), "binpack", plan)
    shown = pod("train", 8, node="a", version=2, annotations={"allocated": allocation({"main": {gpu: 8}})})
    cluster.decisions.seen([cluster.record(shown)])


def test_a_pod_that_got_what_was_planned_is_not_said_to_have_moved() -> None:
    """The usual case."""
    cluster = Cluster(node("a", 16, 16))
    bound(cluster, uuid("a", 0))
    assert [told.decision.verdict for told in cluster.told] == ["bound"]


def test_another_gpu_than_planned_is_told_once() -> None:
    """The kubelet swapped two containers of one size; further changes of the pod are no news."""
    cluster = Cluster(node("a", 16, 16))
    bound(cluster, uuid("a", 1))
    plan = allocation({"main": {uuid("a", 1): 8}})
    cluster.decisions.seen([cluster.record(pod("train", 8, node="a", version=3, annotations={"allocated": plan}))])
    assert [told.decision.verdict for told in cluster.told] == ["bound", "moved"]
    assert decision(cluster).message == "the kubelet gave 8 units of GPU-a-1 instead of 8 units of GPU-a-0"


def test_a_pod_that_another_process_bound_is_not_told_of() -> None:
    """So that of several replicas one tells."""
    cluster = Cluster(node("a", 16, 16))
    shown = pod("train", 8, node="a", annotations={"allocated": allocation({"main": {uuid("a", 1): 8}})})
    cluster.decisions.seen([cluster.record(shown)])
    assert cluster.told == []


def test_a_bound_pod_keeps_what_filter_counted() -> None:
    """So that `explain` can say how many nodes fitted."""
    cluster = Cluster(node("a", 16), node("b", 4))
    plan = cluster.hold(pod("train", 8))
    cluster.decisions.bound(cluster.record(pod("train", 8)), "binpack", plan)
    assert (decision(cluster).verdict, decision(cluster).feasible) == ("bound", 1)
    assert sum(decision(cluster).rejected.values()) == 1


def test_a_failed_bind_is_remembered_with_its_text() -> None:
    """By UID: the pod may be unknown."""
    decisions = Decisions(lambda: NOON)
    decisions.not_bound(PodRecord("uid-1", "default", "train"), "a", "API server: 500")
    expected = Decision("not bound", "2026-01-31T12:00:00.000Z", node="a", message="API server: 500")
    assert decisions.of("uid-1") == expected


def test_only_the_latest_pods_are_remembered() -> None:
    """The one whose decision is oldest goes first; a new decision makes young again."""
    decisions = Decisions(lambda: NOON, limit=2)
    for uid in ("uid-1", "uid-2", "uid-1", "uid-3"):
        decisions.rejected(PodRecord(uid), {"a": Misfit.FULL})
    assert [decisions.of(f"uid-{at}") is not None for at in (1, 2, 3)] == [True, False, True]


def test_of_one_pod_only_the_latest_decisions_are_remembered() -> None:
    """And it is known how many are not."""
    decisions = Decisions(lambda: NOON)
    for at in range(MAX_OF_A_POD + 3):
        decisions.not_bound(PodRecord("uid-1"), "a", f"API server: {at}")
    history = decisions.history("uid-1")
    assert history is not None
    assert (len(history.decisions), history.forgotten) == (MAX_OF_A_POD, 3)
    assert history.decisions[-1].message == f"API server: {MAX_OF_A_POD + 2}"


def test_recent_decisions_are_counted_and_come_newest_first() -> None:
    """For whoever wants to show them."""
    decisions = Decisions(lambda: NOON)
    for at in range(3):
        decisions.not_bound(PodRecord(f"uid-{at}"), "a", "API server: 500")
    told, latest = decisions.recent(2)
    assert (told, [each.uid for each in latest]) == (3, ["uid-2", "uid-1"])


def test_a_pod_is_found_by_name_after_it_went() -> None:
    """The one decided on last, where several had the name."""
    decisions = Decisions(lambda: NOON)
    for uid in ("uid-1", "uid-2"):
        decisions.rejected(PodRecord(uid, "default", "train"), {"a": Misfit.FULL})
    found = decisions.find("default", "train")
    assert found is not None
    assert found.uid == "uid-2"
    assert decisions.find("other", "train") is None


def test_of_an_unknown_pod_nothing_is_known() -> None:
    """Not decided on, or forgotten."""
    assert Decisions(lambda: NOON).of("uid-1") is None
