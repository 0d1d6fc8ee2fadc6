"""What filter, prioritize, preempt and bind are answered from one state of the cluster, and what each leaves behind."""

import pytest

from extender.contract.allocation import Allocation
from extender.contract.units import Units
from extender.scheduling.ledger.events import NodeDeleted
from extender.scheduling.preempting.victims import Victims
from extender.server.state.outcomes import AlreadyBound, Assumed, Passed, Refused, Rejected, Unavailable, UnknownPod
from tests.extender.cluster import HOLD_S, Cluster
from tests.extender.objects import UNIT_MIB, allocation, node, pod, uuid

UNSYNCED = "the scheduler extender has not read the cluster yet"


def test_filter_answers_with_the_best_node_and_holds_its_gpu() -> None:
    """Binpack: the tighter of two GPUs."""
    cluster = Cluster(node("a", 16), node("b", 10))
    plan = cluster.hold(pod("train", 8))
    assert plan.node == "b"
    assert plan.allocation == Allocation(UNIT_MIB, {"main": {uuid("b", 0): Units(8)}})
    assert (cluster.free("a"), cluster.free("b")) == ([16], [2])


def test_filter_answers_with_as_many_nodes_as_the_setting_says() -> None:
    """The best ones, best first; the hold is on the first."""
    cluster = Cluster(node("a", 16), node("b", 10), node("c", 40), answers=2)
    outcome = cluster.filter(pod("train", 8))
    assert isinstance(outcome, Passed)
    assert list(outcome.names) == ["b", "a"]
    assert [cluster.free(name) for name in "abc"] == [[16], [2], [40]]


def test_a_pod_that_states_a_preference_gets_several_nodes_to_choose_from() -> None:
    """Kube-scheduler's plugins weigh its preference among them; a pod without one gets the best node."""
    cluster = Cluster(node("a", 16), node("b", 10), node("c", 40), keep=2)
    preferred = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": {}}]}}
    choosy, plain = cluster.filter(pod("choosy", 8, affinity=preferred)), cluster.filter(pod("plain", 8))
    assert isinstance(choosy, Passed)
    assert isinstance(plain, Passed)
    assert (list(choosy.names), list(plain.names)) == (["b", "a"], ["a"])


def test_filter_considers_only_the_nodes_asked_about() -> None:
    """The others failed in kube-scheduler's own filters; an unknown name is refused with a reason."""
    cluster = Cluster(node("a", 16), node("b", 10))
    assert cluster.hold(pod("train", 8), "a", "nowhere").node == "a"
    assert cluster.filter(pod("other", 8), "nowhere") == Rejected({"nowhere": "node is not known to gpupack"})


def test_lesson_17_a_hold_keeps_the_next_pod_of_a_burst_away() -> None:
    """N pods do not pass for N - 1 places."""
    cluster = Cluster(node("a", 16, 16))
    passed = [isinstance(cluster.filter(pod(f"p{at}", 8)), Passed) for at in range(6)]
    assert passed == [True] * 4 + [False] * 2


def test_lesson_23_a_group_that_is_filtered_before_any_of_it_is_bound_is_not_booked_twice() -> None:
    """All members pass first; then each bind gets exactly what was held for it."""
    cluster = Cluster(node("a", 16, 16))
    held = {name: cluster.hold(pod(name, 8)) for name in ("p0", "p1", "p2", "p3")}
    assert {name: cluster.assume(name, "a") for name in held} == held
    assert cluster.free("a") == [0, 0]


def test_a_second_filter_of_a_pod_replaces_its_hold() -> None:
    """It does not add to it, and it may move."""
    cluster = Cluster(node("a", 16), node("b", 10))
    assert cluster.hold(pod("train", 8)).node == "b"
    assert cluster.hold(pod("train", 8), "a").node == "a"
    assert (cluster.free("a"), cluster.free("b")) == ([8], [10])


def test_a_refused_pod_holds_nothing() -> None:
    """What an earlier filter held for it is given back."""
    cluster = Cluster(node("a", 16))
    cluster.hold(pod("train", 8))
    assert isinstance(cluster.filter(pod("train", 8), "nowhere"), Rejected)
    assert cluster.free("a") == [16]


def test_a_hold_ends_with_its_time() -> None:
    """A pod that never comes to bind does not keep its room."""
    cluster = Cluster(node("a", 16))
    cluster.hold(pod("train", 8))
    cluster.clock.advance(HOLD_S - 0.1)
    assert cluster.free("a") == [8]
    cluster.clock.advance(0.1)
    assert cluster.free("a") == [16]


def test_a_hold_ends_with_its_pod() -> None:
    """Deleted while it waits."""
    cluster = Cluster(node("a", 16))
    cluster.hold(pod("train", 8))
    cluster.delete("train")
    assert cluster.free("a") == [16]
    assert cluster.bind("train", "a") == Refused("pod is gone")


def test_bind_takes_exactly_what_filter_held() -> None:
    """Although another GPU has become the better choice since."""
    cluster = Cluster(node("a", 16, 16))
    held = cluster.hold(pod("train", 8))
    other = uuid("a", 1) if uuid("a", 0) in held.footprint.shares else uuid("a", 0)
    cluster.show_bound("other", 8, other, "a")
    assert cluster.assume("train", "a") == held


def test_bind_on_another_node_plans_anew_and_gives_the_hold_back() -> None:
    """Another plugin of kube-scheduler preferred it."""
    cluster = Cluster(node("a", 16), node("b", 10), answers=2)
    assert cluster.hold(pod("train", 8)).node == "b"
    assert cluster.assume("train", "a").allocation.containers == {"main": {uuid("a", 0): 8}}
    assert (cluster.free("a"), cluster.free("b")) == ([8], [10])


def test_bind_plans_anew_when_the_held_gpu_has_become_unhealthy() -> None:
    """Lesson 18: the hold was honest when it was made."""
    cluster = Cluster(node("a", 16, 16))
    held = cluster.hold(pod("train", 8))
    (gpu,) = held.footprint.shares
    cluster.add_node(node("a", 16, 16, version=2, unhealthy=[gpu]))
    assert gpu not in cluster.assume("train", "a").footprint.shares


def test_bind_plans_anew_when_the_pod_has_changed_what_it_asks_for() -> None:
    """gpu-count was edited between filter and bind: the allocation must agree with the pod as it is."""
    cluster = Cluster(node("a", 16, 16))
    cluster.hold(pod("train", 8))
    cluster.show(pod("train", 8, version=2, annotations={"gpu-count": "2"}))
    assert cluster.assume("train", "a").allocation.containers == {"main": {uuid("a", 0): 4, uuid("a", 1): 4}}
    assert cluster.free("a") == [12, 12]


def test_bind_where_there_is_no_room_is_refused_with_the_reason() -> None:
    """And holds nothing afterwards."""
    cluster = Cluster(node("a", 16), node("b", 4))
    cluster.hold(pod("train", 8))
    assert cluster.bind("train", "b") == Refused("request is larger than the GPUs of the node")
    assert cluster.bind("train", "nowhere") == Refused("node is not known to gpupack")
    assert (cluster.free("a"), cluster.free("b")) == ([16], [4])


def test_lesson_6_a_second_bind_of_a_bound_pod_changes_nothing() -> None:
    """It is told where the pod is; the GPU stays."""
    cluster = Cluster(node("a", 16, 16))
    cluster.show_bound("train", 8, uuid("a", 1), "a")
    assert cluster.bind("train", "a") == AlreadyBound("a", has_gpus=True)
    assert cluster.bind("train", "b") == AlreadyBound("a", has_gpus=True)
    assert cluster.free("a") == [16, 8]


def test_a_bound_pod_that_asks_for_nothing_lacks_nothing() -> None:
    """Without a request there are no GPUs to miss; with one and no allocation there are."""
    cluster = Cluster(node("a", 16))
    cluster.show(pod("plain", "0", node="a"))
    cluster.show(pod("by-hand", 8, node="a"))
    assert cluster.bind("plain", "a") == AlreadyBound("a", has_gpus=True)
    assert cluster.bind("by-hand", "a") == AlreadyBound("a", has_gpus=False)


def test_a_bind_that_is_under_way_stops_every_other_try() -> None:
    """Its Binding may have been written: neither filter nor bind may choose other GPUs, and the room stays charged."""
    cluster = Cluster(node("a", 16))
    cluster.hold(pod("train", 8))
    cluster.assume("train", "a")
    text = "an earlier bind of the pod to a is being settled"
    assert cluster.bind("train", "a") == Refused(text)
    assert cluster.filter(pod("train", 8)) == Unavailable(text)
    cluster.clock.advance(10 * HOLD_S)
    assert cluster.free("a") == [8]


def test_a_bind_that_was_not_written_gives_its_room_back() -> None:
    """And the pod may be filtered again."""
    cluster = Cluster(node("a", 16))
    cluster.hold(pod("train", 8))
    cluster.assume("train", "a")
    cluster.state.forget("uid-train")
    assert cluster.free("a") == [16]
    assert cluster.hold(pod("train", 8)).node == "a"


def test_filter_and_bind_of_pods_that_the_watch_has_not_shown() -> None:
    """Filter itself is news of the pod; a bind without it has to read the pod first."""
    cluster = Cluster(node("a", 16))
    assert cluster.bind("train", "a") == UnknownPod()
    cluster.hold(pod("train", 8))
    assert isinstance(cluster.bind("train", "a"), Assumed)


def test_filter_of_a_bound_pod_is_an_error_not_a_verdict() -> None:
    """Kube-scheduler's cache is behind."""
    cluster = Cluster(node("a", 16))
    cluster.show_bound("train", 8, uuid("a", 0), "a")
    assert cluster.filter(pod("train", 8)) == Unavailable("pod is bound to a already")
    assert cluster.free("a") == [8]


@pytest.mark.parametrize("problem", [UNSYNCED, "shutting down", "lost touch"])
def test_a_view_that_cannot_be_trusted_is_said_not_guessed(problem: str) -> None:
    """Filter is unavailable with a constant text, even for pods without a request, and leaves nothing behind."""
    cluster = Cluster(node("a", 16))
    cluster.problem = problem
    assert [cluster.filter(pod("train", 8)) for _ in range(2)] == [Unavailable(problem)] * 2
    assert cluster.filter(pod("plain")) == Unavailable(problem)
    cluster.problem = None
    assert cluster.free("a") == [16]


def test_bind_makes_no_new_plan_on_a_view_that_cannot_be_trusted() -> None:
    """After a restart the nodes may be in and the pods not yet: every GPU would look free."""
    cluster = Cluster(node("a", 16))
    cluster.show(pod("train", 8))
    cluster.problem = UNSYNCED
    assert cluster.bind("train", "a") == Refused(UNSYNCED)
    assert cluster.free("a") == [16]


def test_bind_keeps_what_filter_held_on_a_view_that_was_good() -> None:
    """A pod that passed filter is bound although the API server went silent since, or we are about to end."""
    cluster = Cluster(node("a", 16))
    held = cluster.hold(pod("train", 8))
    cluster.problem = "shutting down"
    assert cluster.assume("train", "a") == held


def test_a_pod_without_a_request_passes_everywhere() -> None:
    """All names, no plan, nothing held; any score."""
    cluster = Cluster(node("a", 16))
    plain = pod("plain", "0")
    assert cluster.filter(plain, "a", "nowhere") == Passed(("a", "nowhere"), None)
    assert cluster.state.prioritize(cluster.record(plain), ["a", "b"]) == [("a", 0), ("b", 0)]
    assert cluster.free("a") == [16]


def test_a_pod_with_a_senseless_request_is_rejected_everywhere_with_its_error() -> None:
    """A constant text for every node."""
    cluster = Cluster(node("a", 16))
    text = "annotation gpupack.io/gpu-count is 'x', expected a number of GPUs"
    assert cluster.filter(pod("train", 8, annotations={"gpu-count": "x"}), "a", "b") == Rejected({"a": text, "b": text})


def test_trap_a_reasons_are_the_same_from_try_to_try() -> None:
    """While what is free changes all the time."""
    cluster = Cluster(node("a", 16, 16))
    first = cluster.filter(pod("train", 20))
    for at in range(3):
        cluster.show_bound(f"p{at}", 2 + at, uuid("a", at % 2), "a")
        assert cluster.filter(pod("train", 20, version=2 + at)) == first
    assert first == Rejected({"a": "request is larger than the GPUs of the node"})


def test_a_pods_own_policy_decides() -> None:
    """Spread for one pod of a binpack cluster."""
    chosen = []
    for annotations in ({"policy": "spread"}, {}):
        cluster = Cluster(node("a", 16, 16))
        cluster.show_bound("other", 2, uuid("a", 0), "a")
        chosen.append(set(cluster.hold(pod("train", 8, annotations=annotations)).footprint.shares))
    assert chosen == [{uuid("a", 1)}, {uuid("a", 0)}]


def test_prioritize_does_not_count_the_pods_own_hold_against_it() -> None:
    """The node where it just fitted is not full because of itself."""
    cluster = Cluster(node("a", 8), node("b", 16), answers=2)
    record = cluster.record(pod("train", 8))
    cluster.state.filter(record, ["a", "b"])
    assert cluster.state.prioritize(record, ["a", "b"]) == [("a", 10), ("b", 0)]


def test_prioritize_sees_what_has_changed_beside_the_pods_own_hold() -> None:
    """What made its node the best has ended since filter: the other one is fuller now."""
    cluster = Cluster(node("a", 16), node("b", 16), answers=2)
    cluster.show_bound("ends", 4, uuid("a", 0), "a")
    cluster.show_bound("stays", 2, uuid("b", 0), "b")
    record = cluster.record(pod("train", 8))
    cluster.state.filter(record, ["a", "b"])
    assert cluster.state.prioritize(record, ["a", "b"]) == [("a", 10), ("b", 0)]
    cluster.delete("ends")
    assert cluster.state.prioritize(record, ["a", "b"]) == [("a", 0), ("b", 10)]


def test_prioritize_after_the_held_node_is_gone() -> None:
    """It was deleted between filter and prioritize: it gets nothing, the other keeps its score."""
    cluster = Cluster(node("a", 8), node("b", 16), answers=2)
    record = cluster.record(pod("train", 8))
    cluster.state.filter(record, ["a", "b"])
    cluster.state.apply(NodeDeleted("a", 99))
    assert cluster.state.prioritize(record, ["a", "b"]) == [("a", 0), ("b", 10)]


def offer(*uids: str) -> dict[str, Victims]:
    """Kube-scheduler's victims on node a."""
    return {"a": Victims(uids)}


def test_preempt_adds_the_victims_that_it_really_takes() -> None:
    """Lesson 22: kube-scheduler offers too few, or none."""
    cluster = Cluster(node("a", 16, 16))
    for at in (0, 1):
        cluster.show_bound(f"low{at}", 16, uuid("a", at), "a")
    urgent = cluster.record(pod("urgent", 16, priority=100))
    assert cluster.state.preempt(urgent, offer("uid-low1")) == offer("uid-low1")
    assert cluster.state.preempt(urgent, offer()) == offer("uid-low0")
    assert cluster.state.preempt(urgent, {"nowhere": Victims(())}) == {}


def test_preempt_evicts_nobody_for_a_pod_that_can_never_run() -> None:
    """A senseless request stays refused, whoever makes room for it."""
    cluster = Cluster(node("a", 16))
    cluster.show_bound("low", 16, uuid("a", 0), "a")
    senseless = cluster.record(pod("urgent", 16, priority=100, annotations={"gpu-count": "x"}))
    assert cluster.state.preempt(senseless, offer("uid-low")) == {}


def test_preempt_evicts_nobody_on_a_view_that_cannot_be_trusted() -> None:
    """An eviction can't be taken back."""
    cluster = Cluster(node("a", 16))
    cluster.show_bound("low", 16, uuid("a", 0), "a")
    cluster.problem = "lost touch"
    assert cluster.state.preempt(cluster.record(pod("urgent", 16, priority=100)), offer("uid-low")) == {}


def test_preempt_leaves_pods_without_a_request_to_kube_scheduler() -> None:
    """Its own victims stand."""
    cluster = Cluster(node("a", 16))
    assert cluster.state.preempt(cluster.record(pod("plain")), offer("uid-low")) == offer("uid-low")


def test_lesson_7_recreated_under_the_same_name_is_another_pod() -> None:
    """Keyed by UID: nothing leaks, and the newest is found by name."""
    cluster = Cluster(node("a", 16))
    for at in range(20):
        plan = allocation({"main": {uuid("a", 0): 8}})
        body = pod("web", 8, uid=f"uid-{at}", version=10 + at, node="a", annotations={"allocation": plan})
        if at:
            cluster.state.forget(f"uid-{at - 1}")
            cluster.delete(str(at - 1))
        cluster.show(body)
    assert cluster.free("a") == [8]
    found = cluster.state.find("default", "web")
    assert found is not None
    assert found.uid == "uid-19"
    assert cluster.state.find("other", "web") is None


def test_counts_say_what_is_kept() -> None:
    """For metrics."""
    cluster = Cluster(node("a", 16))
    cluster.show_bound("bound", 4, uuid("a", 0), "a")
    cluster.hold(pod("held", 4))
    cluster.hold(pod("assumed", 4))
    cluster.assume("assumed", "a")
    cluster.filter(pod("waiting", 8))
    expected = {"nodes": 1, "pods": 4, "pending": 3, "assumed": 1, "held": 1, "claimed": 0, "waiting": 1}
    assert cluster.state.counts() == expected
