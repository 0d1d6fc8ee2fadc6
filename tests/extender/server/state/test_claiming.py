"""What evictions empty is kept for the pod that they are for: until it is placed, while it is nominated."""

from time import process_time
from typing import Any

from extender.scheduling.fitting.reasons import BOUND_ELSEWHERE, Misfit
from extender.scheduling.ledger.events import PodsListed
from extender.scheduling.preempting.victims import Victims
from extender.server.state.claiming import CLAIM_S
from extender.server.state.outcomes import Assumed, Passed, Rejected, VictimsTerminating
from tests.extender.cluster import Cluster
from tests.extender.objects import Json, allocation, node, pod, uuid

HIGH = 1000
EVICTING = {"n": Misfit.EVICTING}
FULL = Rejected({"n": "not enough free GPU memory"})


def nominated(name: str, units: int, to: str = "n", *, version: int = 50, priority: int = HIGH, **spec: Any) -> Json:
    """A pending pod that kube-scheduler has nominated to a node."""
    status = {"phase": "Pending", "nominatedNodeName": to}
    return pod(name, units, version=version, priority=priority, status=status, **spec)


def leaving(cluster: Cluster, name: str, units: int, gpu: str) -> None:
    """A bound pod is deleted, and its containers take their time."""
    plan = {"allocation": allocation({"main": {gpu: units}})}
    cluster.show(pod(name, units, node="n", version=20, annotations=plan, deleting=True, priority=0))


def offer(*uids: str) -> dict[str, Victims]:
    """kube-scheduler's victims on the node."""
    return {"n": Victims(uids)}


def uids_of(answer: dict[str, Victims]) -> dict[str, set[str]]:
    """Who is to be evicted where."""
    return {name: set(victims.uids) for name, victims in answer.items()}


def two_gpus() -> Cluster:
    """The smallest cluster on which a second round of evictions hurts: a and d on one GPU, b and c on the other."""
    cluster = Cluster(node("n", 16, 16))
    for name, units, index in (("a", 10, 0), ("d", 2, 0), ("b", 10, 1), ("c", 2, 1)):
        cluster.show_bound(name, units, uuid("n", index), "n")
    return cluster


def in_the_middle() -> Cluster:
    """The same after a was evicted and is gone, while d takes its time and p is nominated."""
    cluster = two_gpus()
    p = cluster.record(pod("p", 16, priority=HIGH))
    assert uids_of(cluster.state.preempt(p, offer("uid-a"))) == {"n": {"uid-a", "uid-d"}}
    cluster.show(nominated("p", 16))
    leaving(cluster, "a", 10, uuid("n", 0))
    leaving(cluster, "d", 2, uuid("n", 0))
    cluster.delete("a")
    return cluster


def test_a_pod_waits_for_its_slowest_victim_and_nobody_takes_what_the_first_one_left() -> None:
    """The nomination stands, no second victim is named, and a pod of low priority waits."""
    cluster = in_the_middle()
    assert cluster.filter(nominated("p", 16)) == VictimsTerminating(EVICTING, frozenset({"uid-d"}))
    assert cluster.filter(pod("low", 8)) == Rejected({"n": "not enough free GPU memory"})
    assert cluster.state.preempt(cluster.record(nominated("p", 16)), offer("uid-b")) == {}
    cluster.delete("d")
    assert cluster.hold(nominated("p", 16)).footprint.shares == {uuid("n", 0): 16}
    assert cluster.free("n") == [0, 4]


def test_a_pod_that_has_waited_long_enough_is_refused_for_now() -> None:
    """On that node alone a later try helps; kube-scheduler is kept waiting once for the same victims, and told once."""
    cluster = in_the_middle()
    outcomes = [cluster.filter(nominated("p", 16)) for _ in range(5)]
    assert isinstance(outcomes[-1], VictimsTerminating)
    record = cluster.record(nominated("p", 16))
    expected = Rejected({"n": "pods that were evicted for this one still hold their memory"}, frozenset({"n"}))
    assert cluster.state.refuse(record, outcomes[-1]) == expected
    # It has asked about the nominated node alone; now it asks about all nodes.
    assert cluster.filter(nominated("p", 16)) == expected
    decision = cluster.decisions.of("uid-p")
    assert decision is not None
    assert (decision.verdict, decision.times, decision.rejected) == ("rejected", 1, {Misfit.EVICTING.text: 1})


def test_the_pod_is_woken_when_its_last_victim_is_gone() -> None:
    """It and no pod of lower priority, although the GPU is free for nobody else."""
    cluster = in_the_middle()
    cluster.filter(pod("low", 8))
    cluster.filter(nominated("p", 16))
    cluster.clock.advance(1.0)
    assert cluster.state.worth_waking(0.25, 8) == []
    cluster.delete("d")
    cluster.clock.advance(1.0)
    assert [each.name for each in cluster.state.worth_waking(0.25, 8)] == ["p"]


def test_the_emptied_gpu_is_kept_for_the_nominated_pod() -> None:
    """3 GPUs of 16: S fits on the one that was emptied and nowhere else, and does not get it."""
    cluster = Cluster(node("n", 16, 16, 16))
    for name, units, index in (("a", 12, 0), ("x", 13, 1), ("y", 13, 2)):
        cluster.show_bound(name, units, uuid("n", index), "n", priority=HIGH if name in "xy" else 0)
    assert uids_of(cluster.state.preempt(cluster.record(pod("p", 16, priority=HIGH)), offer())) == {"n": {"uid-a"}}
    cluster.show(nominated("p", 16))
    cluster.delete("a")
    assert cluster.free("n") == [0, 3, 3]
    assert isinstance(cluster.filter(pod("s", 4)), Rejected)
    assert cluster.hold(nominated("p", 16)).footprint.shares == {uuid("n", 0): 16}


def claimed(cluster: Cluster) -> list[int]:
    """Units claimed of each GPU."""
    return [gpu.claimed for gpu in cluster.node("n").gpus]


def test_a_claim_is_seen_on_the_api_server_alone_after_a_restart() -> None:
    """Whichever list comes first: terminating pods of lower priority and the nomination are enough."""
    before = in_the_middle()
    pods = tuple(each for name in "dbcp" if (each := before.state.pod(f"uid-{name}")) is not None)
    for nodes_first in (True, False):
        after = Cluster(*([node("n", 16, 16)] if nodes_first else []))
        after.state.apply(PodsListed(pods, 100))
        if not nodes_first:
            after.add_node(node("n", 16, 16))
        assert claimed(after) == [16, 0]
        assert after.filter(nominated("p", 16)) == VictimsTerminating(EVICTING, frozenset({"uid-d"}))


def test_a_claim_is_made_when_the_victims_are_seen_leaving_after_the_nomination() -> None:
    """A second extender has not answered preempt, and hears of the nomination first."""
    cluster = two_gpus()
    cluster.show(nominated("p", 16))
    assert claimed(cluster) == [0, 0]
    leaving(cluster, "a", 10, uuid("n", 0))
    assert claimed(cluster) == [0, 0]  # that alone makes no room
    leaving(cluster, "d", 2, uuid("n", 0))
    assert claimed(cluster) == [16, 0]


def test_a_nomination_without_victims_claims_nothing() -> None:
    """kube-scheduler writes one for every pod that it is binding (1.35 on); the hold is all that counts."""
    cluster = Cluster(node("n", 16, 16))
    cluster.show(nominated("p", 16))
    assert claimed(cluster) == [0, 0]
    cluster.show_bound("a", 4, uuid("n", 0), "n")
    held = cluster.hold(nominated("p", 8))
    leaving(cluster, "a", 4, uuid("n", 0))
    cluster.show(nominated("p", 8, version=60))
    assert claimed(cluster) == [0, 0]
    assert cluster.assume("p", "n") == held


def test_a_claim_ends_with_the_nomination() -> None:
    """Cleared, moved, bound, deleted, node gone: each gives the room back at once."""
    ends: list[Any] = [
        lambda cluster: cluster.show(pod("p", 16, version=70, priority=HIGH)),
        lambda cluster: cluster.show(nominated("p", 16, "elsewhere", version=70)),
        lambda cluster: cluster.show(pod("p", 16, version=70, priority=HIGH, node="elsewhere")),
        lambda cluster: cluster.delete("p"),
    ]
    for end in ends:
        cluster = in_the_middle()
        assert claimed(cluster) == [16, 0]
        end(cluster)
        assert claimed(cluster) == [0, 0]
        assert cluster.free("n") == [14, 4]


def test_a_claim_ends_after_a_quarter_of_an_hour() -> None:
    """A victim that never ends must not keep a GPU for ever; the same nomination claims nothing again."""
    cluster = in_the_middle()
    cluster.clock.advance(CLAIM_S - 1)
    assert claimed(cluster) == [16, 0]
    cluster.clock.advance(1)
    assert claimed(cluster) == [0, 0]
    cluster.show(nominated("p", 16, version=90))
    assert claimed(cluster) == [0, 0]
    assert isinstance(cluster.filter(nominated("p", 16, version=91)), Rejected)


def test_a_claim_moves_when_its_gpu_falls_ill() -> None:
    """To another GPU of the node that its victims leave, or it ends."""
    cluster = in_the_middle()
    cluster.add_node(node("n", 16, 16, version=2, unhealthy=[uuid("n", 0)]))
    assert claimed(cluster) == [0, 0]
    leaving(cluster, "b", 10, uuid("n", 1))
    leaving(cluster, "c", 2, uuid("n", 1))
    assert claimed(cluster) == [0, 16]


def test_a_pod_that_fits_elsewhere_goes_there_and_its_claim_ends() -> None:
    """No need to wait for the victims."""
    cluster = in_the_middle()
    cluster.add_node(node("m", 16))
    assert cluster.hold(nominated("p", 16)).node == "m"
    assert claimed(cluster) == [0, 0]


def test_a_more_important_pod_takes_a_claim_and_not_otherwise() -> None:
    """Of equal priority it waits; a claim that would not help it stays."""
    cluster = in_the_middle()
    assert isinstance(cluster.filter(pod("peer", 8, version=60, priority=HIGH)), Rejected)
    assert isinstance(cluster.filter(pod("huge", 15, version=60, priority=HIGH + 1)), Rejected)
    assert claimed(cluster) == [16, 0]
    assert cluster.hold(pod("boss", 14, version=60, priority=HIGH + 1)).footprint.shares == {uuid("n", 0): 14}
    assert claimed(cluster) == [0, 0]


def test_a_claim_costs_nothing_in_the_victim_search_of_a_more_important_pod() -> None:
    """What b and c have need not go, for p's claim gives way; after the nomination it has."""
    cluster = in_the_middle()
    boss = cluster.record(pod("boss", 16, version=60, priority=HIGH + 1))
    assert uids_of(cluster.state.preempt(boss, offer("uid-d"))) == {"n": {"uid-d"}}
    cluster.show(nominated("boss", 16, version=61, priority=HIGH + 1))
    assert [(each.name, each.hold.value) for each in cluster.node("n").holders if each.hold.value != "bound"] == [
        ("boss", "claimed")
    ]


def test_a_claim_is_no_promise_at_bind() -> None:
    """A bind of a pod whose victims still hold the memory does not get it."""
    cluster = in_the_middle()
    assert not isinstance(cluster.bind("p", "n"), Assumed)
    assert cluster.free("n") == [14, 4]


def test_a_claim_is_no_overcommitment() -> None:
    """A GPU is overcommitted by what pods have, not by what they will get."""
    cluster = in_the_middle()
    assert [gpu.overcommitted for gpu in cluster.node("n").gpus] == [0, 0]
    assert [gpu.used for gpu in cluster.node("n").gpus] == [2, 12]
    assert (cluster.state.counts()["claimed"], cluster.state.counts()["held"]) == (1, 0)


def test_victims_that_nobody_evicts_are_named_again() -> None:
    """kube-scheduler's deletions have failed: nothing is on its way."""
    cluster = two_gpus()
    p = cluster.record(pod("p", 16, priority=HIGH))
    answer = cluster.state.preempt(p, offer("uid-a"))
    cluster.show(nominated("p", 16))
    assert cluster.state.preempt(cluster.record(nominated("p", 16)), offer("uid-a")) == answer


def test_a_bound_pod_fits_where_it_is_and_nothing_is_held_for_it() -> None:
    """kube-scheduler asks about a pod whose resize is deferred; its GPU memory stays as it is, and counts once."""
    cluster = Cluster(node("n", 16), node("m", 16))
    cluster.show_bound("a", 12, uuid("n", 0), "n")
    resized = pod("a", 12, node="n", version=9, annotations={"allocation": allocation({"main": {uuid("n", 0): 12}})})
    assert cluster.filter(resized) == Passed(("n",))
    assert cluster.filter(resized, "m") == Rejected({"m": BOUND_ELSEWHERE})
    assert cluster.free("n") == [4]
    assert cluster.state.counts()["held"] == 0


def test_evictions_for_a_bound_pod_are_kube_schedulers_alone() -> None:
    """On its own node, where CPU or memory is short; never elsewhere."""
    cluster = Cluster(node("n", 16), node("m", 16))
    cluster.show_bound("a", 12, uuid("n", 0), "n")
    resized = cluster.record(pod("a", 12, node="n", version=9, priority=HIGH))
    offered = {"n": Victims(("uid-x",), 1), "m": Victims(("uid-y",))}
    assert cluster.state.preempt(resized, offered) == {"n": Victims(("uid-x",), 1)}


def emptied_for(*places: str) -> Cluster:
    """On each node (one GPU of 16) a pod was evicted for a nominated one, which claims what it left: p0, p1, ..."""
    cluster = Cluster(*(node(name, 16) for name in places))
    for at, name in enumerate(places):
        cluster.show_bound(f"v{at}", 16, uuid(name, 0), name)
    for at, name in enumerate(places):
        preemptor = cluster.record(pod(f"p{at}", 16, priority=HIGH))
        cluster.state.preempt(preemptor, {name: Victims((f"uid-v{at}",))})
        cluster.show(nominated(f"p{at}", 16, name))
        cluster.delete(f"v{at}")
    return cluster


def test_a_more_important_pod_takes_one_claim_and_leaves_the_others() -> None:
    """It needs one GPU: the claims on the other nodes stay."""
    cluster = emptied_for("n1", "n2", "n3")
    assert cluster.hold(pod("boss", 16, priority=HIGH + 1)).node == "n1"
    assert [cluster.node(name).gpus[0].claimed for name in ("n1", "n2", "n3")] == [0, 16, 16]
    assert isinstance(cluster.filter(pod("low", 16)), Rejected)


def test_many_claims_make_no_refusal_slow() -> None:
    """Their victims are still there, so none of them is worth a long look by a more important pod."""
    names = [f"n{at}" for at in range(400)]
    cluster = Cluster(*(node(name, 16) for name in names))
    for name in names:
        cluster.show(nominated(f"p-{name}", 16, name))
        plan = {"allocation": allocation({"main": {uuid(name, 0): 16}})}
        cluster.show(pod(f"v-{name}", 16, node=name, version=20, annotations=plan, deleting=True, priority=0))
    assert cluster.state.counts()["claimed"] == 400

    def took_s(priority: int) -> float:
        asker = cluster.record(pod(f"asker-{priority}", 16, priority=priority))
        started_s = process_time()
        assert isinstance(cluster.state.filter(asker, names), Rejected)
        return process_time() - started_s

    assert min(took_s(HIGH + at) for at in range(1, 8)) < 5 * min(took_s(-at) for at in range(7))


def test_of_the_claims_on_a_node_those_in_the_way_are_taken() -> None:
    """The least important of those on the GPU that the more important pod gets, and as few as it takes."""
    cluster = Cluster(node("n", 16, 16))
    wanted = (("a", 8, 0, 1), ("b", 8, 0, 2), ("c", 16, 1, 3))
    for name, units, index, _ in wanted:
        cluster.show_bound(f"v{name}", units, uuid("n", index), "n")
    for name, units, _, priority in wanted:
        cluster.state.preempt(cluster.record(pod(name, units, priority=priority)), offer(f"uid-v{name}"))
        cluster.show(nominated(name, units, priority=priority))
        cluster.delete(f"v{name}")
    assert claimed(cluster) == [16, 16]
    assert cluster.hold(pod("boss", 8, priority=HIGH)).footprint.shares == {uuid("n", 0): 8}
    assert [one.name for one in cluster.node("n").holders] == ["b", "boss", "c"]


def test_a_claim_comes_back_when_its_gpu_does() -> None:
    """Unhealthy, or without an inventory, for a moment after the victims have gone."""
    for away in (node("n1", 16, version=30, unhealthy=[uuid("n1", 0)]), node("n1", version=30)):
        cluster = emptied_for("n1")
        cluster.clock.advance(31)
        cluster.add_node(away)
        assert [gpu.claimed for gpu in cluster.node("n1").gpus] in ([], [0])
        cluster.add_node(node("n1", 16, version=31))
        assert [gpu.claimed for gpu in cluster.node("n1").gpus] == [16]
        assert isinstance(cluster.filter(pod("low", 16)), Rejected)


def test_a_claim_comes_back_when_the_pod_that_took_its_place_goes() -> None:
    """The more important pod ends while the nomination stands."""
    cluster = emptied_for("n1")
    cluster.show_bound("boss", 16, uuid("n1", 0), "n1", priority=HIGH + 1)
    cluster.show(nominated("p0", 16, "n1", version=60))
    assert [gpu.claimed for gpu in cluster.node("n1").gpus] == [0]
    cluster.delete("boss")
    assert [gpu.claimed for gpu in cluster.node("n1").gpus] == [16]


def test_a_pod_is_evicted_for_on_another_node_when_its_own_is_out_of_the_question() -> None:
    """Its nominated node is tainted while the victims there take their time: kube-scheduler offers another node."""
    cluster = Cluster(node("n", 16), node("m", 16))
    cluster.show_bound("v", 16, uuid("n", 0), "n")
    cluster.show_bound("w", 16, uuid("m", 0), "m")
    cluster.state.preempt(cluster.record(pod("p", 16, priority=HIGH)), offer("uid-v"))
    cluster.show(nominated("p", 16))
    leaving(cluster, "v", 16, uuid("n", 0))
    p = cluster.record(nominated("p", 16))
    elsewhere = {"m": Victims(("uid-w",))}
    assert cluster.state.preempt(p, {**offer("uid-v"), **elsewhere}) == {}
    assert cluster.state.preempt(p, elsewhere) == elsewhere


def test_a_pod_that_terminates_for_ever_draws_no_claim() -> None:
    """The victims named for the pod are on the other GPU; what they leave is kept."""
    cluster = Cluster(node("n", 16, 16))
    cluster.show_bound("stuck", 16, uuid("n", 0), "n")
    cluster.show_bound("v", 16, uuid("n", 1), "n")
    leaving(cluster, "stuck", 16, uuid("n", 0))
    cluster.state.preempt(cluster.record(pod("p", 16, priority=HIGH)), offer("uid-v"))
    cluster.show(nominated("p", 16))
    assert claimed(cluster) == [0, 16]
    leaving(cluster, "v", 16, uuid("n", 1))
    cluster.delete("v")
    assert isinstance(cluster.filter(pod("low", 16)), Rejected)
    assert cluster.hold(nominated("p", 16)).footprint.shares == {uuid("n", 1): 16}


def test_a_claim_moves_to_what_is_free_now() -> None:
    """Its victims may take long: it goes where nobody has to leave any more."""
    cluster = in_the_middle()
    assert claimed(cluster) == [16, 0]
    cluster.delete("b")
    assert claimed(cluster) == [16, 0]
    cluster.delete("c")
    assert claimed(cluster) == [0, 16]
    assert cluster.hold(nominated("p", 16)).footprint.shares == {uuid("n", 1): 16}
