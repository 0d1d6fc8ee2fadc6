"""Claims: room that is kept for a pod while the pods evicted for it may still hold it."""

from collections.abc import Callable

from extender.scheduling.ledger.events import NodeChanged, PodChanged, PodDeleted
from extender.scheduling.ledger.ledger import Ledger
from extender.scheduling.nodes.node import Hold, Holder
from extender.scheduling.pods.footprint import Footprint
from tests.extender.scheduling.builders import UNIT_MIB, gpus_of, on, pod, record, shares

P = pod("p", 5, request=shares(12))


def ledger() -> Ledger:
    """One GPU of 16, of which `low` has 10, and a pending pod p."""
    made = Ledger(UNIT_MIB)
    made.apply(NodeChanged(record("a", gpus_of(16, 16))))
    made.apply(PodChanged(pod("low", 2, node="a", footprint=on({0: 10}))))
    made.apply(PodChanged(P))
    return made


def of_p(footprint: Footprint) -> Holder:
    """What p would hold."""
    return Holder("p", "default", "p", P.request, footprint)


def charged(of: Ledger) -> list[tuple[int, int, int]]:
    """Units used, claimed and free of each GPU."""
    return [(gpu.used, gpu.claimed, gpu.free) for gpu in of.nodes["a"].gpus]


def test_a_claim_is_on_top_of_what_is_used() -> None:
    """It is free for nobody, and overcommits nothing."""
    made = ledger()
    made.claim("a", of_p(on({0: 12})), 5, 10.0)
    assert charged(made) == [(10, 12, 0), (0, 0, 16)]
    assert [gpu.overcommitted for gpu in made.nodes["a"].gpus] == [0, 0]
    assert not made.nodes["a"].idle[0]


def test_room_that_a_victim_leaves_is_told_although_it_is_free_for_nobody_else() -> None:
    """The pod that claims it has to be woken."""
    made = ledger()
    made.claim("a", of_p(on({0: 12})), 5, 10.0)
    assert made.apply(PodDeleted("low")) == ("a",)
    assert charged(made) == [(0, 12, 4), (0, 0, 16)]


def test_a_hold_or_an_assumption_of_the_same_room_replaces_the_claim() -> None:
    """Then the units are used; a claim never replaces them."""
    for firmer in ("hold", "assume"):
        made = ledger()
        made.claim("a", of_p(on({1: 12})), 5, 10.0)
        if firmer == "hold":
            made.hold("a", of_p(on({1: 12})), 5, 10.0)
        else:
            made.assume("a", of_p(on({1: 12})), 5)
        assert charged(made) == [(10, 0, 6), (12, 0, 4)]
        assert made.claim("a", of_p(on({0: 12})), 5, 10.0) == ()
        assert charged(made) == [(10, 0, 6), (12, 0, 4)]


def test_a_claim_ends_with_its_time_its_pod_or_its_release() -> None:
    """Each gives everything back."""
    ends: list[Callable[[Ledger], object]] = [
        lambda made: made.expire(10.0),
        lambda made: made.release("p"),
        lambda made: made.forget("p"),
        lambda made: made.apply(PodDeleted("p")),
        lambda made: made.apply(PodChanged(pod("p", 6, node="elsewhere", request=P.request))),
    ]
    for end in ends:
        made = ledger()
        before = made.nodes["a"]
        made.claim("a", of_p(on({0: 12}, whole=[1])), 5, 10.0)
        assert charged(made) == [(10, 12, 0), (0, 16, 0)]
        end(made)
        assert (made.nodes["a"].gpus, made.nodes["a"].free, made.nodes["a"].idle) == (
            before.gpus,
            before.free,
            before.idle,
        )
        assert made.nodes["a"].claims == ()
        assert made.reservation("p") is None


def test_compute_is_claimed_too() -> None:
    """All of it with a whole GPU."""
    made = ledger()
    made.claim("a", of_p(on({0: 4}, cores={0: 70}, whole=[1])), 5, 10.0)
    assert [gpu.core_free_percent for gpu in made.nodes["a"].gpus] == [30, 0]


def test_a_claim_on_gpus_that_are_gone_is_charged_nowhere() -> None:
    """The pod has not been given anything: there is nothing to be careful about."""
    made = ledger()
    made.claim("a", of_p(on({7: 12})), 5, 10.0)
    assert charged(made) == [(10, 0, 6), (0, 0, 16)]
    assert [one.hold for one in made.nodes["a"].holders] == [Hold.BOUND, Hold.CLAIMED]
