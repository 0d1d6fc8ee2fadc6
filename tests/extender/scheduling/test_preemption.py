"""Preempt: only nodes where evicting makes room, with every victim offered and no more than it takes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from extender.scheduling.fitting.fitting import Fit, fit
from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Policy
from extender.scheduling.preemption import Preemptor, Victims, preempt
from tests.extender.scheduling.builders import (
    BINPACK,
    UNIT_MIB,
    fitted,
    gpus_of,
    holder,
    info,
    node,
    on,
    pod,
    record,
    shares,
    snapshot,
    wholes,
)
from tests.extender.scheduling.strategies import POLICY, requests

HIGH = 100


def busy(*pods: PodRecord, gpus: tuple[int, ...] = (16, 16)) -> tuple[NodeInfo, dict[str, PodRecord]]:
    """A node with these pods, and what is known of them."""
    known = record("node", gpus_of(*gpus))
    return info(known, [holder(each.uid, each.footprint, each.request) for each in pods]), {e.uid: e for e in pods}


def answer(
    place: NodeInfo, pods: dict[str, PodRecord], request: PodRequest, *offered: str, violations: int = 0
) -> dict[str, Victims]:
    """What is answered for one candidate node."""
    preemptor = Preemptor(request, HIGH, BINPACK)
    return preempt(snapshot(place), {"node": Victims(offered, violations)}, preemptor, pods, unit_mib=UNIT_MIB)


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
    assert preempt(snapshot(), {"gone": Victims(("a",))}, preemptor, pods, unit_mib=UNIT_MIB) == {}


def test_a_node_without_victims_is_never_answered() -> None:
    """It would end kube-scheduler's try; the pod fits there already."""
    assert answer(node(16), {}, shares(8)) == {}


def test_pods_without_gpus_are_not_added() -> None:
    """Evicting them frees no GPU; kube-scheduler offers them itself where CPU is short."""
    place, pods = busy(on_gpu(0, 16, "a"), gpus=(16,))
    bystander = PodRecord("b", node="node")
    after = info(place.record, [*place.holders, holder("b", None)])
    assert answer(after, {**pods, "b": bystander}, wholes(1), "b") == {"node": Victims(("b", "a"))}


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


@settings(max_examples=80, deadline=None)
@given(crowded("a"), crowded("b"), requests(most=2), POLICY, st.data())
def test_answers_make_room_and_no_more(
    one: tuple[NodeInfo, list[PodRecord]],
    other: tuple[NodeInfo, list[PodRecord]],
    request: PodRequest,
    policy: Policy,
    data: st.DataObject,
) -> None:
    """A node is answered exactly when evicting all lesser pods would do; each victim added is needed."""
    places = {one[0].name: one[0], other[0].name: other[0]}
    pods = {each.uid: each for each in (*one[1], *other[1])}
    offered = {
        name: Victims(tuple(data.draw(st.sets(st.sampled_from(sorted(h.uid for h in place.holders)), max_size=2))))
        for name, place in places.items()
    }
    offered["gone"] = Victims(("x",))
    preemptor = Preemptor(request, 3, policy)
    answers = preempt(snapshot(*places.values()), offered, preemptor, pods, unit_mib=UNIT_MIB)
    assert set(answers) <= set(places)
    for name, place in places.items():

        def fits_without(gone: set[str], place: NodeInfo = place) -> bool:
            left = [each for each in place.holders if each.uid not in gone]
            return isinstance(fit(info(place.record, left), request, policy), Fit)

        lesser = {each.uid for each in pods.values() if each.node == name and each.priority < 3}
        if name not in answers:
            nothing_to_do = not offered[name].uids and fits_without(set())
            assert nothing_to_do or not fits_without({*offered[name].uids, *lesser})
            continue
        victims = answers[name].uids
        added = set(victims) - set(offered[name].uids)
        assert victims[: len(offered[name].uids)] == offered[name].uids
        assert len(set(victims)) == len(victims)
        assert added <= lesser
        fitted(info(place.record, [e for e in place.holders if e.uid not in victims]), request, policy)
        for uid in added:
            assert not fits_without(set(victims) - {uid})
