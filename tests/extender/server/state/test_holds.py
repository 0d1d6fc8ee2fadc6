"""What filter holds for a pod lasts as long as kube-scheduler's attempt to place it: not longer, and not shorter."""

import pytest

from extender.scheduling.ledger.attempts import LONGEST_S
from extender.scheduling.ledger.events import PodsListed
from extender.scheduling.preempting.victims import Victims
from extender.server.state.outcomes import Assumed, Passed, Refused, Rejected, Unavailable
from tests.extender.cluster import HOLD_S, Cluster
from tests.extender.objects import Json, node, pod, uuid

NO_VOLUME = 'binding volumes: provisioning failed for PVC "data"'
OURS = "0/1 nodes are available: 1 not enough free GPU memory."
SETTLED_S = 0.25


def shown(name: str, version: int, refusal: str = "", *, reason: str = "SchedulerError", nominated: str = "") -> Json:
    """A pod of 10 with what kube-scheduler wrote on it."""
    condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": refusal}
    conditions = [condition] if refusal else []
    status = {"phase": "Pending", "conditions": conditions, "nominatedNodeName": nominated}
    return pod(name, 10, version=version, status=status)


def one_node() -> Cluster:
    """Room for one pod of 10."""
    return Cluster(node("a", 16))


def woken(cluster: Cluster) -> list[str]:
    """Names of the pods that a round of upkeep wakes."""
    return [each.name for each in cluster.state.worth_waking(SETTLED_S, 8)]


def test_a_pod_whose_attempts_fail_leaves_the_room_to_others() -> None:
    """Its volume can't be made: each hold ends with its attempt, and who waits is woken within a second."""
    cluster = one_node()
    cluster.hold(shown("zombie", 1))
    cluster.show(shown("zombie", 2, nominated="a"))
    assert isinstance(cluster.filter(shown("good", 3)), Rejected)
    cluster.clock.advance(1)
    cluster.show(shown("zombie", 4, NO_VOLUME))
    assert cluster.free("a") == [16]
    assert woken(cluster) == []
    cluster.clock.advance(0.5)
    assert woken(cluster) == ["good"]
    assert isinstance(cluster.filter(shown("good", 5)), Passed)


def test_a_failure_in_the_same_words_as_before_is_seen_by_the_nomination_that_goes() -> None:
    """kube-scheduler does not write a condition that is the same."""
    cluster = one_node()
    cluster.hold(shown("zombie", 1, NO_VOLUME))
    cluster.show(shown("zombie", 2, NO_VOLUME, nominated="a"))
    assert cluster.free("a") == [6]
    cluster.show(shown("zombie", 3, NO_VOLUME))
    assert cluster.free("a") == [16]


@pytest.mark.parametrize("wait_s", [HOLD_S + 10, 15 * 60.0])
def test_a_pod_that_waits_for_its_volume_or_its_gang_keeps_its_room(wait_s: float) -> None:
    """`slow` is nominated all the time; `late` comes after the bound, and is refused; the bind gets what was held."""
    cluster = one_node()
    held = cluster.hold(shown("slow", 1))
    cluster.clock.advance(0.1)
    cluster.show(shown("slow", 2, nominated="a"))
    cluster.clock.advance(wait_s)
    assert isinstance(cluster.filter(shown("late", 3)), Rejected)
    assert cluster.assume("slow", "a") == held


def test_a_scheduler_that_died_while_a_pod_waited_does_not_hold_its_room_for_ever() -> None:
    """No wait of kube-scheduler is longer."""
    cluster = one_node()
    cluster.hold(shown("slow", 1))
    cluster.show(shown("slow", 2, nominated="a"))
    cluster.clock.advance(LONGEST_S - 0.1)
    assert cluster.free("a") == [6]
    cluster.clock.advance(0.1)
    assert cluster.free("a") == [16]


def test_the_echo_of_an_earlier_refusal_ends_nothing() -> None:
    """kube-scheduler was refused, asked again within milliseconds, and writes only now why the first try failed."""
    cluster = one_node()
    cluster.show_bound("first", 10, uuid("a", 0), "a")
    assert isinstance(cluster.filter(shown("train", 6)), Rejected)
    cluster.delete("first")
    cluster.hold(shown("train", 6))
    cluster.show(shown("train", 7, OURS, reason="Unschedulable"))
    assert cluster.free("a") == [6]
    cluster.show(shown("train", 8, OURS, reason="Unschedulable", nominated="a"))
    cluster.show(shown("train", 9, NO_VOLUME))
    assert cluster.free("a") == [16]


def test_a_pod_for_which_others_were_evicted_keeps_its_room_while_it_is_nominated() -> None:
    """It was nominated before the attempt, and any failure takes that away."""
    cluster = one_node()
    native = "0/1 nodes are available: 1 Insufficient memory."
    cluster.hold(shown("urgent", 2, native, reason="Unschedulable", nominated="a"))
    cluster.clock.advance(2 * HOLD_S)
    assert cluster.free("a") == [6]
    cluster.show(shown("urgent", 3, native, reason="Unschedulable"))
    assert cluster.free("a") == [16]


def test_an_old_record_says_nothing_of_the_attempt() -> None:
    """Events come late and twice."""
    cluster = one_node()
    cluster.hold(shown("train", 5))
    cluster.show(shown("train", 4, NO_VOLUME))
    cluster.show(shown("train", 5, NO_VOLUME))
    assert cluster.free("a") == [6]


def test_a_list_tells_what_the_watch_would_have_told() -> None:
    """Of a failure, and of a wait."""
    cluster = Cluster(node("a", 16), node("b", 16))
    cluster.hold(shown("zombie", 1), "a")
    cluster.hold(shown("slow", 2), "b")
    pods = (shown("zombie", 3, NO_VOLUME), shown("slow", 4, nominated="b"))
    cluster.state.apply(PodsListed(tuple(map(cluster.record, pods)), 9))
    cluster.clock.advance(HOLD_S)
    assert (cluster.free("a"), cluster.free("b")) == ([16], [6])


def test_room_is_held_where_kube_scheduler_waits_to_bind() -> None:
    """Filter had named two nodes, and another plugin preferred the second."""
    cluster = Cluster(node("a", 16), node("b", 16), answers=2)
    assert cluster.hold(shown("slow", 1)).node == "a"
    cluster.show(shown("slow", 2, nominated="b"))
    assert (cluster.free("a"), cluster.free("b")) == ([16], [6])
    cluster.clock.advance(2 * HOLD_S)
    assert cluster.free("b") == [6]
    assert isinstance(cluster.bind("slow", "b"), Assumed)


def test_nothing_is_held_where_there_is_no_room_any_more() -> None:
    """The second node was filled meanwhile: bind will say so."""
    cluster = Cluster(node("a", 16), node("b", 16), answers=2)
    cluster.hold(shown("slow", 1))
    cluster.show_bound("other", 10, uuid("b", 0), "b")
    cluster.show(shown("slow", 6, nominated="b"))
    assert (cluster.free("a"), cluster.free("b")) == ([16], [6])
    assert cluster.bind("slow", "b") == Refused("not enough free GPU memory")


def test_a_pod_that_passes_again_and_again_holds_its_room_for_shorter_times() -> None:
    """Where nothing tells: 30, 7.5, 1.9 and 1 s of every ten; whoever waits finds the room free in between."""
    cluster = one_node()
    held_s = []
    for version in range(1, 6):
        cluster.hold(shown("zombie", version))
        held = cluster.state.reservation("uid-zombie")
        assert held is not None
        assert held.expires_s is not None
        held_s.append(held.expires_s - held.since_s)
        cluster.clock.advance(10)
    assert held_s == [30, 7.5, 1.875, 1, 1]
    assert isinstance(cluster.filter(shown("good", 9)), Passed)


def test_a_pod_that_came_to_bind_is_trusted_again() -> None:
    """The Binding was not written, and that was not its fault."""
    cluster = one_node()
    for version in (1, 2):
        cluster.hold(shown("train", version))
    cluster.assume("train", "a")
    cluster.state.forget("uid-train")
    cluster.hold(shown("train", 3))
    cluster.clock.advance(HOLD_S - 0.1)
    assert cluster.free("a") == [6]


@pytest.mark.parametrize("call", ["preempt", "filter without a view", "filter with a bad request"])
def test_the_next_call_about_a_pod_ends_what_an_earlier_attempt_held(call: str) -> None:
    """The attempt before must have failed."""
    cluster = one_node()
    cluster.hold(shown("train", 1))
    record = cluster.record(shown("train", 1))
    if call == "preempt":
        cluster.state.preempt(record, {"a": Victims(())})
    elif call == "filter without a view":
        cluster.problem = "lost touch"
        assert cluster.state.filter(record, ["a"]) == Unavailable("lost touch")
    else:
        bad = pod("train", 10, version=2, annotations={"gpu-count": "x"})
        assert isinstance(cluster.filter(bad), Rejected)
    assert cluster.free("a") == [16]


def test_a_failed_attempt_counts_against_its_node_once() -> None:
    """However it was seen to fail; the next try of the pod goes elsewhere."""
    cluster = Cluster(node("a", 16), node("b", 16))
    assert cluster.hold(shown("train", 1)).node == "a"
    cluster.show(shown("train", 2, NO_VOLUME))
    assert cluster.hold(shown("train", 3)).node == "b"
    assert len(cluster.state.avoided(cluster.record(shown("train", 3)))["a"]) == 1


def test_a_refusal_of_the_nominated_node_alone_is_no_verdict() -> None:
    """kube-scheduler asks about all nodes next, and there is room on another one."""
    cluster = Cluster(node("a", 16), node("b", 16))
    cluster.show_bound("other", 16, uuid("a", 0), "a")
    urgent = shown("urgent", 6, nominated="a")
    assert isinstance(cluster.filter(urgent, "a"), Rejected)
    assert (cluster.told, cluster.state.waiting()) == ([], ["uid-urgent"])
    assert isinstance(cluster.filter(urgent), Passed)
    assert isinstance(cluster.filter(urgent, "a"), Rejected)
    assert cluster.told == []


def test_a_refusal_of_the_nominated_node_and_then_of_all_is_told() -> None:
    """Also where it is the only one."""
    for names in (("a",), ("a", "b")):
        cluster = Cluster(*(node(name, 8) for name in names))
        urgent = shown("urgent", 6, nominated="a")
        for _ in range(2):
            cluster.filter(urgent, "a")
            cluster.filter(urgent)
        assert [each.decision.verdict for each in cluster.told] == ["rejected"]


def nominated(name: str, version: int, on: str = "a") -> Json:
    """A pod of 10 that waits to be bound, of a scheduler that calls."""
    body = shown(name, version, nominated=on)
    body["spec"]["schedulerName"] = "ours"
    return body


def test_a_restart_takes_no_room_from_a_pod_that_waits_to_be_bound() -> None:
    """A new process remembers no hold, and sees where kube-scheduler is about to bind the pod."""
    cluster = Cluster(node("a", 16), schedulers=["ours"])
    cluster.show(nominated("slow", 1))
    cluster.state.adopt_holds()
    assert isinstance(cluster.filter(shown("late", 2)), Rejected)
    assert isinstance(cluster.bind("slow", "a"), Assumed)


def test_an_extender_that_stands_by_holds_what_the_other_one_holds() -> None:
    """It hears no calls, and takes over in the middle of an attempt."""
    cluster = Cluster(node("a", 16), schedulers=["ours"])
    cluster.show(shown("slow", 1))
    cluster.show(nominated("slow", 2))
    assert isinstance(cluster.filter(shown("late", 3)), Rejected)
    cluster.show(shown("slow", 4, NO_VOLUME))
    assert isinstance(cluster.filter(shown("late", 5)), Passed)


def test_no_room_is_held_for_a_pod_with_scheduling_gates() -> None:
    """kube-scheduler does not look at it, whoever nominates it; once the gates are gone, it does."""
    cluster = Cluster(node("a", 16), schedulers=["ours"])
    cluster.show(shown("slow", 1))
    gated = nominated("slow", 2)
    gated["spec"]["schedulingGates"] = [{"name": "queue"}]
    cluster.show(gated)
    assert cluster.free("a") == [16]
    cluster.show(nominated("slow", 3))
    assert cluster.free("a") == [6]


def test_a_nomination_that_goes_ends_what_was_held_for_it() -> None:
    """Changes of the pod that say nothing new do not; and no hold lasts for ever."""
    cluster = Cluster(node("a", 16), schedulers=["ours"])
    cluster.show(nominated("slow", 1))
    cluster.state.adopt_holds()
    cluster.clock.advance(2 * HOLD_S)
    cluster.show(nominated("slow", 2))
    assert cluster.free("a") == [6]
    cluster.show(shown("slow", 3))
    assert cluster.free("a") == [16]
    cluster.show(nominated("slow", 4))
    assert cluster.free("a") == [6]
    cluster.clock.advance(LONGEST_S)
    cluster.show(nominated("slow", 5))
    assert cluster.free("a") == [16]


def test_a_nomination_by_another_scheduler_holds_nothing() -> None:
    """It never asks this extender to bind a pod."""
    cluster = Cluster(node("a", 16), schedulers=["other"])
    cluster.show(nominated("slow", 1))
    cluster.state.adopt_holds()
    assert cluster.free("a") == [16]


def test_a_nomination_where_there_is_no_room_holds_nothing() -> None:
    """The pods that are evicted for it are there still."""
    cluster = Cluster(node("a", 16), schedulers=["ours"])
    cluster.show_bound("victim", 10, uuid("a", 0), "a")
    cluster.show(nominated("urgent", 6))
    cluster.state.adopt_holds()
    assert cluster.free("a") == [6]
