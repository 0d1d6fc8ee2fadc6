"""Preempt: only nodes where evicting makes room, with every victim offered and no more than it takes."""

import json
from itertools import combinations, permutations
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from extender.contract.expressions import Expression
from extender.scheduling.fitting.fitting import Fit, fit
from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.nodes.node import Hold, Holder, NodeInfo
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Policy
from extender.scheduling.preempting.budgets import Budget, Protection, violations
from extender.scheduling.preempting.cheapest import Expendable, cost_of, importance
from extender.scheduling.preempting.preempt import preempt
from extender.scheduling.preempting.victims import Preemptor, Victims
from tests.extender.scheduling.builders import (
    BINPACK,
    UNIT_MIB,
    gpu,
    gpus_of,
    holder,
    info,
    mig,
    node,
    on,
    pod,
    record,
    shares,
    wholes,
)
from tests.extender.scheduling.strategies import POLICY, requests

HIGH = 100


def busy(*pods: PodRecord, gpus: tuple[int, ...] = (16, 16)) -> tuple[NodeInfo, dict[str, PodRecord]]:
    """A node with these pods, and what is known of them."""
    known = record("node", gpus_of(*gpus))
    return info(known, [holder(each.uid, each.footprint, each.request) for each in pods]), {e.uid: e for e in pods}


def answer(
    place: NodeInfo,
    pods: dict[str, PodRecord],
    request: PodRequest,
    *offered: str,
    violations: int = 0,
    budgets: tuple[Budget, ...] | None = None,
) -> dict[str, Victims]:
    """What is answered for one candidate node."""
    preemptor = Preemptor(request, HIGH, BINPACK)
    offers = {"node": Victims(offered, violations)}
    return preempt({"node": place}, offers, preemptor, pods, unit_mib=UNIT_MIB, budgets=budgets)


def on_gpu(index: int, units: int, uid: str, priority: int = 0, where: str = "node") -> PodRecord:
    """A bound pod on one GPU."""
    return pod(uid, node=where, footprint=on({index: units}), priority=priority)


def test_victims_that_make_room_stay_as_they_are() -> None:
    """With the number of disruption budgets that they violate."""
    place, pods = busy(on_gpu(0, 16, "a"), on_gpu(1, 16, "b"))
    assert answer(place, pods, shares(8), "a", violations=1) == {"node": Victims(("a",), 1)}


def test_lesson_22_victims_are_added_where_the_offered_ones_do_not_help() -> None:
    """kube-scheduler counts units of the node: 8 + 8 are free after `a`, but on two GPUs."""
    place, pods = busy(on_gpu(0, 8, "a"), on_gpu(0, 8, "b"), on_gpu(1, 8, "c"))
    assert answer(place, pods, shares(16), "a") == {"node": Victims(("a", "b"))}


def test_lesson_22_victims_are_found_where_none_were_offered() -> None:
    """Newer kube-schedulers send empty lists for nodes that only the extender rejected."""
    place, pods = busy(on_gpu(0, 16, "a"), on_gpu(1, 16, "b"))
    assert answer(place, pods, shares(8)) == {"node": Victims(("a",))}


def test_the_least_important_goes_first() -> None:
    """Among those that help."""
    place, pods = busy(on_gpu(0, 16, "a", 5), on_gpu(1, 16, "b", 3))
    assert answer(place, pods, shares(8)) == {"node": Victims(("b",))}


def test_pods_that_do_not_help_are_reprieved() -> None:
    """`a` is the least important, but its GPU is too small."""
    place, pods = busy(on_gpu(0, 8, "a", 1), on_gpu(1, 16, "b", 2), gpus=(8, 16))
    assert answer(place, pods, shares(16)) == {"node": Victims(("b",))}


def test_nobody_is_evicted_from_a_mig_device_for_a_whole_gpu() -> None:
    """Though the one pod there is less important than the two on the GPU."""
    pods = [on_gpu(0, 8, "a", 5), on_gpu(0, 8, "b", 5), on_gpu(1, 9, "c", 1)]
    place = info(record("node", (gpu(0), mig(1))), [holder(each.uid, each.footprint) for each in pods])
    known = {each.uid: each for each in pods}
    assert answer(place, known, wholes(1)) == {"node": Victims(("a", "b"))}
    assert answer(place, known, wholes(1, models="*MIG*")) == {"node": Victims(("c",))}


def test_pods_of_the_same_or_higher_priority_stay() -> None:
    """The node is dropped."""
    place, pods = busy(on_gpu(0, 16, "a", HIGH), on_gpu(1, 16, "b", HIGH + 1))
    assert answer(place, pods, shares(8)) == {}


def test_only_bound_pods_can_be_evicted() -> None:
    """Not one that is assumed or held, nor one that is known on another node, nor one that is unknown."""
    place, _ = busy(on_gpu(0, 16, "a"), on_gpu(1, 16, "b"))
    pods = {"a": pod("a", footprint=on({0: 16})), "b": on_gpu(1, 16, "b", where="other")}
    assert answer(place, pods, shares(8)) == {}
    assert answer(place, {}, shares(8)) == {}


def test_unknown_nodes_and_nodes_that_nothing_helps_are_dropped() -> None:
    """An answer may drop nodes."""
    place, pods = busy(on_gpu(0, 16, "a"))
    assert answer(place, pods, shares(17), "a") == {}
    preemptor = Preemptor(shares(1), HIGH, BINPACK)
    assert preempt({}, {"gone": Victims(("a",))}, preemptor, pods, unit_mib=UNIT_MIB) == {}


def test_a_node_without_victims_is_never_answered() -> None:
    """It would end kube-scheduler's try; the pod fits there already."""
    assert answer(node(16), {}, shares(8)) == {}


def test_pods_without_gpus_are_not_added() -> None:
    """Evicting them frees no GPU; kube-scheduler offers them itself where CPU is short."""
    place, pods = busy(on_gpu(0, 16, "a"), gpus=(16,))
    bystander = PodRecord("b", node="node")
    after = info(place.record, [*place.holders, holder("b", None)])
    assert answer(after, {**pods, "b": bystander}, wholes(1), "b") == {"node": Victims(("a", "b"))}


def test_the_fewest_go_whatever_their_uids_are() -> None:
    """A 10 + d 2 or b 10 + c 2 make room for 16; no order of UIDs makes it three."""
    for names in permutations("abcd"):
        a, d, b, c = names
        place, pods = busy(on_gpu(0, 10, a), on_gpu(0, 2, d), on_gpu(1, 10, b), on_gpu(1, 2, c))
        assert len(answer(place, pods, shares(16))["node"].uids) == 2
        assert set(answer(place, pods, shares(16), a)["node"].uids) == {a, d}


def test_one_large_pod_goes_before_two_small_ones_of_the_same_priority() -> None:
    """And two small ones before one that is more important."""
    place, pods = busy(on_gpu(0, 8, "a"), on_gpu(0, 4, "b"), on_gpu(0, 4, "c"), gpus=(16,))
    assert answer(place, pods, shares(8)) == {"node": Victims(("a",))}
    place, pods = busy(on_gpu(0, 8, "a", 1), on_gpu(0, 4, "b"), on_gpu(0, 4, "c"), gpus=(16,))
    assert answer(place, pods, shares(8)) == {"node": Victims(("b", "c"))}


def test_the_one_that_has_run_shortest_goes() -> None:
    """Of pods that are alike otherwise; one that has not even started goes first."""
    starts = {"a": "2026-01-01T00:00:00Z", "b": "2026-01-01T02:00:00Z", "c": "2026-01-01T01:00:00Z"}
    pods = {uid: replace(on_gpu(at, 16, uid), started=start) for at, (uid, start) in enumerate(starts.items())}
    place, _ = busy(*pods.values(), gpus=(16, 16, 16))
    assert answer(place, pods, shares(8)) == {"node": Victims(("b",))}
    assert answer(place, {**pods, "a": replace(pods["a"], started="")}, shares(8)) == {"node": Victims(("a",))}


def test_the_most_important_victim_is_named_first() -> None:
    """kube-scheduler takes its priority for the highest on the node."""
    place, pods = busy(on_gpu(0, 8, "a", 1), on_gpu(0, 8, "b", 5), gpus=(16,))
    assert answer(place, pods, shares(16), "a") == {"node": Victims(("b", "a"))}


def test_pods_that_are_leaving_are_no_victims_again() -> None:
    """Their memory is as good as free, and costs nothing."""
    place, pods = busy(on_gpu(0, 8, "a", 5), on_gpu(0, 8, "b"), on_gpu(1, 16, "c"))
    leaving = {**pods, "a": replace(pods["a"], terminating=True)}
    assert answer(place, leaving, shares(16)) == {"node": Victims(("b",))}
    assert answer(place, {**leaving, "b": replace(pods["b"], terminating=True)}, shares(16)) == {}


def claiming(uid: str, units: int, priority: int) -> tuple[Holder, PodRecord]:
    """A pending pod that claims GPU 0."""
    made = Holder(uid, "default", uid, shares(units), on({0: units}), hold=Hold.CLAIMED)
    return made, pod(uid, request=shares(units), priority=priority)


def test_only_a_lesser_claim_gives_way() -> None:
    """It costs nothing; one of the same priority is used memory."""
    place, pods = busy(on_gpu(0, 4, "a"), on_gpu(1, 8, "b"), on_gpu(1, 8, "c"))
    for priority, victims in ((HIGH - 1, ("a",)), (HIGH, ("b", "c"))):
        made, record = claiming("p", 12, priority)
        crowded = info(place.record, [*place.holders, made])
        assert answer(crowded, {**pods, "p": record}, shares(16)) == {"node": Victims(victims)}


def labelled(record: PodRecord, **labels: str) -> PodRecord:
    """The pod with these labels."""
    return replace(record, labels=json.dumps(labels).encode())


def budget(allows: int = 0, *disrupted: str, **labels: str) -> Budget:
    """A budget for the pods with these labels."""
    wanted = tuple(Expression(key, "In", (value,)) for key, value in labels.items())
    return Budget("budget", "default", wanted, allows, frozenset(disrupted))


def test_a_pod_that_a_budget_protects_goes_last() -> None:
    """Rather two others, rather a more important one; if it must go, the answer says so."""
    protected = labelled(on_gpu(0, 16, "a"), app="db")
    place, pods = busy(protected, on_gpu(1, 8, "b", 9), on_gpu(1, 8, "c", 9))
    assert answer(place, pods, shares(16), budgets=(budget(app="db"),)) == {"node": Victims(("b", "c"), 0)}
    assert answer(place, pods, shares(16), budgets=(budget(1, app="db"),)) == {"node": Victims(("a",), 0)}
    assert answer(place, pods, shares(16), "a", budgets=(budget(app="db"),)) == {"node": Victims(("a",), 1)}


def test_a_budget_is_counted_down_within_one_answer() -> None:
    """It allows one eviction: the second one violates it, unless the eviction was counted before."""
    both = [labelled(on_gpu(0, 8, uid), app="db") for uid in "ab"]
    place, pods = busy(*both, gpus=(16,))
    assert answer(place, pods, shares(16), budgets=(budget(1, app="db"),))["node"].pdb_violations == 1
    assert answer(place, pods, shares(16), budgets=(budget(1, "a", app="db"),))["node"].pdb_violations == 0


def test_an_empty_selector_protects_the_whole_namespace() -> None:
    """And no other one; a pod needs no label for that."""
    place, pods = busy(on_gpu(0, 16, "a"), gpus=(16,))
    assert answer(place, pods, shares(16), budgets=(budget(),))["node"].pdb_violations == 1
    elsewhere = replace(budget(), namespace="other")
    assert answer(place, pods, shares(16), budgets=(elsewhere,))["node"].pdb_violations == 0


def test_victims_without_gpus_are_counted_as_kube_scheduler_does() -> None:
    """Their labels are not known here; those that the extender adds come on top."""
    place, pods = busy(labelled(on_gpu(0, 16, "a"), app="db"), gpus=(16,))
    both = info(place.record, [*place.holders, holder("plain", None)])
    known = {**pods, "plain": PodRecord("plain", node="node")}
    for protecting, expected in ((budget(app="db"), 2), (budget(app="web"), 1)):
        answered = answer(both, known, wholes(1), "plain", violations=1, budgets=(protecting,))
        assert answered == {"node": Victims(("a", "plain"), expected)}


def test_many_budgets_cost_no_time() -> None:
    """kube-scheduler waits for 5 s; every pod is in each of a thousand budgets, and has labels of its own."""
    places: dict[str, NodeInfo] = {}
    pods: dict[str, PodRecord] = {}
    for name in (f"n{at:02}" for at in range(50)):
        there = [labelled(on_gpu(0, 8, f"{name}-{at}", 0, name), app="db", at=f"{name}-{at}") for at in range(10)]
        pods |= {each.uid: each for each in there}
        holders = [holder(each.uid, each.footprint, each.request) for each in there]
        places[name] = info(record(name, gpus_of(80)), holders)
    budgets = tuple(replace(budget(5, app="db"), uid=str(at)) for at in range(1_000))
    others = tuple(replace(budget(0, app=f"other-{at}"), uid=f"other-{at}") for at in range(1_000))
    started_s = process_time()
    preemptor, offers = Preemptor(shares(60), HIGH, BINPACK), dict.fromkeys(places, Victims(()))
    answers = preempt(places, offers, preemptor, pods, unit_mib=UNIT_MIB, budgets=(*budgets, *others))
    assert process_time() - started_s < 3
    assert {(len(each.uids), each.pdb_violations) for each in answers.values()} == {(8, 3)}


@pytest.mark.parametrize("request_", [shares(55), shares(40, 30)])
def test_a_long_search_ends(request_: PodRequest) -> None:
    """As many pods as a kubelet takes on each of the most nodes that kube-scheduler names: scheduling waits for it."""
    places: dict[str, NodeInfo] = {}
    pods: dict[str, PodRecord] = {}
    for name in (f"n{at:02}" for at in range(100)):
        there = [on_gpu(gpu, 4 + at % 5, f"{name}-{gpu}-{at}", at % 7, name) for gpu in range(8) for at in range(13)]
        pods |= {each.uid: each for each in there}
        holders = [holder(each.uid, each.footprint, each.request) for each in there]
        places[name] = info(record(name, gpus_of(*(80,) * 8)), holders)
    preemptor = Preemptor(request_, HIGH, BINPACK)
    started_s = process_time()
    answers = preempt(places, dict.fromkeys(places, Victims(())), preemptor, pods, unit_mib=UNIT_MIB)
    assert process_time() - started_s < 15
    assert all(len(answers[name].uids) < 40 for name in places)


@st.composite
def crowded(draw: st.DrawFn, name: str) -> tuple[NodeInfo, list[PodRecord]]:
    """A full node with pods of different priorities."""
    sizes = draw(st.lists(st.integers(4, 12), min_size=1, max_size=3))
    pods: list[PodRecord] = []
    for at, size in enumerate(sizes):
        left = size
        while left > 0 and len(pods) < 6:
            units = draw(st.integers(1, left))
            whole = units == left == size and draw(st.booleans())
            where = on(whole=[at]) if whole else on({at: units})
            pods.append(pod(f"{name}-{len(pods)}", node=name, footprint=where, priority=draw(st.integers(0, 4))))
            left -= units
    known = record(name, gpus_of(*sizes))
    return info(known, [holder(each.uid, each.footprint, each.request) for each in pods]), pods


BUDGETS = (budget(0, app="x"), budget(1, app="y"), replace(budget(1, tier="z"), uid="third"))
PROTECTION, ALLOWS = Protection(BUDGETS), [each.allows for each in BUDGETS]


@st.composite
def shown(draw: st.DrawFn, record: PodRecord) -> PodRecord:
    """The pod as it may be: with labels, started at some time, perhaps leaving."""
    labels = draw(st.sampled_from([{}, {"app": "x"}, {"app": "y"}, {"app": "y", "tier": "z"}, {"tier": "z"}]))
    started = draw(st.sampled_from(["", "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"]))
    leaving = draw(st.integers(0, 5)) == 0
    return replace(labelled(record, **labels), started=started, terminating=leaving)


def cheapest_by_brute_force(
    place: NodeInfo, pods: dict[str, PodRecord], offered: tuple[str, ...], preemptor: Preemptor
) -> tuple[object, ...] | None:
    """The cost of the cheapest of all sets; None when none suffices, or nobody needs to go."""
    lesser = {each.uid for each in pods.values() if each.node == place.name and each.priority < preemptor.priority}
    leaving = {uid for uid in lesser if pods[uid].terminating} - {*offered}
    spare = sorted(lesser - leaving - {*offered})
    costs = []
    for size in range(len(spare) + 1):
        for chosen in combinations(spare, size):
            gone = {*offered, *leaving, *chosen}
            left = [each for each in place.holders if each.uid not in gone]
            if isinstance(fit(info(place.record, left), preemptor.request, preemptor.policy), Fit):
                victims = {*offered, *chosen}
                members = [Expendable(pods[uid], PROTECTION.of(pods[uid])) for uid in victims]
                costs.append((cost_of(members, ALLOWS)[:5], len(victims)))
    best = min(costs, default=None)
    return None if best is None or not best[1] else best[0]


@settings(max_examples=150, deadline=None)
@given(crowded("a"), crowded("b"), requests(most=2), POLICY, st.data())
def test_answers_are_the_cheapest_that_make_room(
    one: tuple[NodeInfo, list[PodRecord]],
    other: tuple[NodeInfo, list[PodRecord]],
    request: PodRequest,
    policy: Policy,
    data: st.DataObject,
) -> None:
    """On each node no set is cheaper, each victim added is needed and less important, and violations are counted."""
    places = {one[0].name: one[0], other[0].name: other[0]}
    pods = {each.uid: data.draw(shown(each)) for each in (*one[1], *other[1])}
    offered = {
        name: Victims(tuple(data.draw(st.sets(st.sampled_from(sorted(h.uid for h in place.holders)), max_size=2))))
        for name, place in places.items()
    }
    offered["gone"] = Victims(("x",))
    preemptor = Preemptor(request, 3, policy)
    answers = preempt(places, offered, preemptor, pods, unit_mib=UNIT_MIB, budgets=BUDGETS)
    assert set(answers) <= set(places)
    for name, place in places.items():
        expected = cheapest_by_brute_force(place, pods, offered[name].uids, preemptor)
        if name not in answers:
            assert expected is None
            continue
        victims = answers[name].uids
        members = [Expendable(pods[uid], PROTECTION.of(pods[uid])) for uid in victims]
        assert cost_of(members, ALLOWS)[:5] == expected
        added = set(victims) - set(offered[name].uids)
        assert set(offered[name].uids) <= set(victims)
        assert len(set(victims)) == len(victims)
        assert all(pods[uid].priority < 3 and not pods[uid].terminating for uid in added)
        assert list(victims) == sorted(victims, key=lambda uid: importance(pods[uid]))
        taken = [PROTECTION.of(pods[uid]) for uid in victims]
        assert answers[name].pdb_violations == sum(violations(taken, ALLOWS))
        leaving = {uid for uid, each in pods.items() if each.terminating and each.priority < 3}

        def fits_without(gone: set[str], place: NodeInfo = place) -> bool:
            left = [each for each in place.holders if each.uid not in gone]
            return isinstance(fit(info(place.record, left), request, policy), Fit)

        assert fits_without({*victims, *leaving})
        assert not any(fits_without({*victims, *leaving} - {uid}) for uid in added)
