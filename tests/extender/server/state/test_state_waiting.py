"""Lesson 16: refused pods wait for room, and are named once there is some, so that somebody can wake them."""

import pytest

from extender.server.state import waiting
from extender.server.state.outcomes import Passed, Rejected
from tests.extender.cluster import HOLD_S, Cluster
from tests.extender.objects import allocation, node, pod, uuid

SETTLED_S = 0.25
LIMIT = 3


def full() -> Cluster:
    """Two nodes of one GPU, both taken, and a pod that was refused."""
    cluster = Cluster(node("a", 16), node("b", 16))
    for name in ("a", "b"):
        cluster.show_bound(f"on-{name}", 16, uuid(name, 0), name)
    assert isinstance(cluster.filter(pod("train", 8)), Rejected)
    return cluster


def woken(cluster: Cluster, wait_s: float = SETTLED_S) -> list[str]:
    """Names of the pods worth waking after some time."""
    cluster.clock.advance(wait_s)
    return [each.name for each in cluster.state.worth_waking(SETTLED_S, LIMIT)]


def test_a_refused_pod_is_named_once_when_room_has_appeared() -> None:
    """And not before, and not again for the same room."""
    cluster = full()
    assert woken(cluster) == []
    cluster.delete("on-a")
    assert [woken(cluster), woken(cluster)] == [["train"], []]


def test_room_has_to_last_a_moment() -> None:
    """Kube-scheduler's own retry comes first."""
    cluster = full()
    cluster.delete("on-a")
    assert woken(cluster, SETTLED_S - 0.01) == []
    assert woken(cluster, 0.01) == ["train"]


def test_a_pod_that_has_passed_meanwhile_needs_no_waking() -> None:
    """Kube-scheduler was quick enough."""
    cluster = full()
    cluster.delete("on-a")
    assert isinstance(cluster.filter(pod("train", 8)), Passed)
    assert woken(cluster) == []


def test_a_pod_that_was_refused_with_the_room_in_sight_is_not_woken_for_it() -> None:
    """Nothing has changed since: it was asked about another node."""
    cluster = full()
    cluster.delete("on-a")
    cluster.clock.advance(0.1)
    assert isinstance(cluster.filter(pod("train", 8), "b"), Rejected)
    assert woken(cluster) == []


@pytest.mark.parametrize("end", ["deleted", "bound"])
def test_a_pod_that_is_over_is_not_woken(end: str) -> None:
    """Deleted, or bound by somebody else."""
    cluster = full()
    if end == "deleted":
        cluster.delete("train")
    else:
        cluster.show_bound("train", 8, uuid("b", 0), "b")
    cluster.delete("on-a")
    assert woken(cluster) == []
    assert cluster.state.counts()["waiting"] == 0


def test_only_pods_that_fit_are_woken() -> None:
    """The room is too small for one of them, and enough for one of two others."""
    cluster = full()
    for name, units in (("large", 12), ("small", 6)):
        cluster.clock.advance(0.1)
        cluster.filter(pod(name, units))
    cluster.show_bound("on-a", 8, uuid("a", 0), "a", version=6)
    assert woken(cluster) == ["train"]


def test_an_expired_hold_is_room() -> None:
    """The pod that it was for never came to bind."""
    cluster = Cluster(node("a", 16))
    cluster.hold(pod("first", 16))
    cluster.filter(pod("train", 8))
    assert woken(cluster, HOLD_S) == []
    assert woken(cluster) == ["train"]


def test_a_bind_that_was_not_written_is_room() -> None:
    """Forgotten."""
    cluster = Cluster(node("a", 16))
    cluster.hold(pod("first", 16))
    cluster.assume("first", "a")
    cluster.filter(pod("train", 8))
    cluster.state.forget("uid-first")
    assert woken(cluster) == ["train"]


def test_a_new_node_is_room() -> None:
    """Scaled up."""
    cluster = full()
    cluster.add_node(node("c", 16))
    assert woken(cluster) == ["train"]


def test_more_pods_than_a_round_may_wake_are_woken_round_by_round() -> None:
    """Ten places appear at once: nobody is forgotten because others were first."""
    cluster = full()
    cluster.delete("train")
    for at in range(10):
        cluster.filter(pod(f"p{at}", 16))
    cluster.add_node(node("large", *[16] * 10))
    rounds = []
    for _ in range(4):
        names = woken(cluster)
        for name in names:
            assert isinstance(cluster.filter(pod(name, 16)), Passed)
        rounds.append(len(names))
    assert rounds == [3, 3, 3, 1]


REFUSED = {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]}


def test_pods_refused_before_a_restart_are_adopted_when_they_fit() -> None:
    """Kube-scheduler has said so in their conditions; a new process has no memory of it."""
    cluster = Cluster(node("a", 16), schedulers=["ours"])
    cluster.show(pod("refused", 8, status=REFUSED, schedulerName="ours"))
    cluster.show(pod("too-large", 17, status=REFUSED, schedulerName="ours"))
    cluster.show(pod("new", 8, schedulerName="ours"))
    cluster.state.adopt_waiting()
    assert woken(cluster) == ["refused"]


def restarted() -> Cluster:
    """Room for one pod, for which an older pod of another scheduler waits, and one of a scheduler that calls."""
    cluster = Cluster(node("a", 16, 16))
    cluster.show_bound("full", 16, uuid("a", 1), "a")
    cluster.show(pod("theirs", 16, status=REFUSED, schedulerName="volcano", priority=9))
    cluster.show(pod("ours", 16, status=REFUSED, schedulerName="ours"))
    return cluster


def test_after_a_restart_no_pod_of_another_scheduler_is_woken() -> None:
    """A retry would be of no use to it, and whoever could use the room would not hear of it."""
    cluster = restarted()
    cluster.state.adopt_waiting()
    assert woken(cluster) == []
    assert cluster.state.counts()["waiting"] == 0


def test_a_scheduler_is_known_by_where_its_pods_are() -> None:
    """An extender has written the allocation of a pod that is bound."""
    cluster = restarted()
    plan = allocation({"main": {uuid("a", 1): 16}}, policy="binpack")
    where = {"node": "a", "annotations": {"allocation": plan}}
    cluster.show(pod("full", 16, version=6, schedulerName="ours", **where))  # type: ignore[arg-type]  # as `pod` takes it
    cluster.state.adopt_waiting()
    assert woken(cluster) == ["ours"]


def test_a_scheduler_is_known_by_its_first_call() -> None:
    """Its other pods are adopted then; those that it asked about keep what they were refused for."""
    cluster = restarted()
    cluster.state.adopt_waiting()
    assert isinstance(cluster.filter(pod("another", 17, schedulerName="ours")), Rejected)
    assert woken(cluster) == ["ours"]
    assert sorted(cluster.state.waiting()) == ["uid-another", "uid-ours"]


def test_a_call_before_the_first_lists_adopts_nothing_twice() -> None:
    """What the lists show is adopted once they are in."""
    cluster = restarted()
    cluster.problem = "not read yet"
    cluster.filter(pod("another", 17, schedulerName="ours"))
    assert cluster.state.counts()["waiting"] == 0
    cluster.problem = None
    cluster.state.adopt_waiting()
    assert woken(cluster) == ["ours"]


def test_the_waiting_room_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest goes first."""
    monkeypatch.setattr(waiting, "MAX_WAITING", 2)
    cluster = full()
    for name in ("p0", "p1"):
        cluster.filter(pod(name, 4))
    assert cluster.state.counts()["waiting"] == 2
    cluster.delete("on-a")
    assert woken(cluster) == ["p0", "p1"]
