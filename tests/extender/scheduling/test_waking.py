"""Refused pods are woken when they fit on what was freed, together, the most important first."""

from hypothesis import given, settings
from hypothesis import strategies as st

from extender.scheduling.fitting.fitting import Fit, fit
from extender.scheduling.fitting.placing import footprint_of_choice
from extender.scheduling.nodes.node import Hold, Holder, NodeInfo
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Policy
from extender.scheduling.waking import RefusedPod, worth_waking
from tests.extender.scheduling.builders import BINPACK, UNIT_MIB, holder, info, node, on, shares, wholes
from tests.extender.scheduling.strategies import POLICY, clusters, requests


def waiting(
    uid: str, request: PodRequest, priority: int = 0, since_s: float = 0.0, policy: Policy = BINPACK
) -> RefusedPod:
    """A refused pod."""
    return RefusedPod(uid, "default", uid, request, policy, priority, since_s)


def woken(refused: list[RefusedPod], *freed: NodeInfo, limit: int = 10) -> list[str]:
    """UIDs of the pods worth another try."""
    return [each.uid for each in worth_waking(refused, freed, limit=limit, unit_mib=UNIT_MIB)]


def test_lesson_16_who_fits_now_is_woken() -> None:
    """And no others."""
    refused = [waiting("large", shares(17)), waiting("small", shares(8)), waiting("whole", wholes(2))]
    assert woken(refused, node(16)) == ["small"]


def test_they_fit_together() -> None:
    """A hundred pods are not woken for one place."""
    assert woken([waiting(f"{at:03}", shares(8)) for at in range(100)], node(16, 8)) == ["000", "001", "002"]


def test_the_most_important_first_then_who_waits_longest() -> None:
    """Priority, then time, then UID."""
    refused = [
        waiting("c", shares(1), since_s=5),
        waiting("b", shares(1), since_s=5),
        waiting("a", shares(1), since_s=9),
        waiting("late but important", shares(1), priority=7, since_s=10),
    ]
    assert woken(refused, node(16)) == ["late but important", "b", "c", "a"]
    assert woken(refused, node(2)) == ["late but important", "b"]


def test_limit() -> None:
    """So many and no more, not even one for a limit of none."""
    refused = [waiting(str(at), shares(1)) for at in range(5)]
    assert [woken(refused, node(16), limit=limit) for limit in (0, 1, 3)] == [[], ["0"], ["0", "1", "2"]]


def test_smaller_pods_are_woken_past_a_large_one() -> None:
    """The one in front that does not fit holds no other pod back."""
    assert woken([waiting("a", shares(9), priority=1), waiting("b", shares(8))], node(8)) == ["b"]


def test_no_freed_node_wakes_nobody() -> None:
    """And no refused pod is woken by any node."""
    assert (woken([waiting("a", shares(1))]), woken([], node(16))) == ([], [])


def test_a_full_node_wakes_nobody() -> None:
    """What is held there counts."""
    assert woken([waiting("a", shares(9))], node(16, holders=[holder("b", on({0: 8}))])) == []


@settings(max_examples=80, deadline=None)
@given(
    clusters(most=3),
    st.lists(st.tuples(requests(most=2, largest=6), POLICY, st.integers(0, 2), st.integers(0, 3)), max_size=8),
    st.integers(0, 4),
)
def test_chosen_pods_fit_together(
    freed: tuple[NodeInfo, ...], asked: list[tuple[PodRequest, Policy, int, int]], limit: int
) -> None:
    """Placed one after the other in the order given, each finds room; who is left out does not."""
    refused = [
        waiting(f"p{at}", request, priority, since, policy)
        for at, (request, policy, priority, since) in enumerate(asked)
    ]
    chosen = worth_waking(refused, freed, limit=limit, unit_mib=UNIT_MIB)
    assert len(chosen) <= limit
    rank = [(-each.priority, each.waiting_since_s, each.uid) for each in chosen]
    assert rank == sorted(rank)
    nodes = list(freed)
    for each in chosen:
        at, answer = next(
            (at, answer)
            for at, place in enumerate(nodes)
            if isinstance(answer := fit(place, each.request, each.policy), Fit)
        )
        footprint = footprint_of_choice(nodes[at], each.request, answer.chosen)
        new = Holder(each.uid, "default", each.uid, each.request, footprint, hold=Hold.HELD)
        nodes[at] = info(nodes[at].record, (*nodes[at].holders, new))
    if len(chosen) < limit:
        for each in refused:
            assert each in chosen or not any(isinstance(fit(p, each.request, each.policy), Fit) for p in nodes)


def test_room_where_a_pods_own_constraints_do_not_let_it_is_no_room() -> None:
    """Its node selector left one node; others are of no use to it, unless they are new."""
    wants = RefusedPod("a", "default", "a", shares(8), BINPACK, 0, 0.0, frozenset({"mine"}), 5)
    mine, other = node(16, name="mine"), node(16, name="other")
    old, new = {"mine": 1, "other": 1}, {"mine": 1, "other": 6}
    assert worth_waking([wants], [other], limit=9, unit_mib=UNIT_MIB, first_seen=old) == []
    assert worth_waking([wants], [other, mine], limit=9, unit_mib=UNIT_MIB, first_seen=old) == [wants]
    assert worth_waking([wants], [other], limit=9, unit_mib=UNIT_MIB, first_seen=new) == [wants]
    known_then = {"mine": 1, "other": wants.generation}
    assert worth_waking([wants], [other], limit=9, unit_mib=UNIT_MIB, first_seen=known_then) == []


def claiming(uid: str, units: int, gpu: int = 0) -> Holder:
    """A pod that claims room on a GPU."""
    return Holder(uid, "default", uid, shares(units), on({gpu: units}), hold=Hold.CLAIMED)


def test_a_claim_is_room_for_the_pod_that_has_it_alone() -> None:
    """It wakes once its victims are gone, even before pods of its priority that have waited longer."""
    for left, expected in ((4, []), (0, ["claimant"])):
        others = [holder("victim", on({0: left}))] if left else []
        refused = [waiting("peer", shares(1)), waiting("claimant", shares(16), since_s=9)]
        assert woken(refused, node(16, holders=[claiming("claimant", 16), *others])) == expected


def test_a_more_important_pod_is_woken_for_claimed_room() -> None:
    """Filter gives it to that pod; claims on other GPUs stay, and those that are in the way wait again."""
    refused = [waiting("important", shares(9), priority=7), waiting("p", shares(16)), waiting("q", shares(16))]
    claims = [claiming("p", 16), claiming("q", 16, 1)]
    assert woken(refused, node(16, holders=claims[:1])) == ["important"]
    assert woken(refused, node(16, 16, holders=claims)) == ["important", "q"]
    assert woken([*refused, waiting("small", shares(7))], node(16, 16, holders=claims)) == ["important", "q", "small"]
    assert woken(refused, node(16, holders=[claims[0], holder("victim", on({0: 8}))])) == []
