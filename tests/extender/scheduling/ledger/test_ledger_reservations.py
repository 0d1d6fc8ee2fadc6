"""Holds and assumptions in the ledger: what makes them, moves them and ends them."""

from extender.scheduling.fitting.reasons import Misfit
from extender.scheduling.ledger.events import NodeChanged, PodChanged, PodsListed
from extender.scheduling.nodes.node import Hold, Holder
from tests.extender.scheduling.builders import fitted, gpus_of, holder, on, pod, record, refused, wholes
from tests.extender.scheduling.ledgers import ledger, node_of


def test_an_assumption_survives_an_older_list() -> None:
    """The list was taken before the pod was created."""
    known = ledger()
    known.assume("node", holder("a", on({0: 4})), 7)
    known.apply(PodsListed((), 6))
    assert node_of(known).free == (12, 16)


def test_an_assumption_survives_a_list_that_shows_the_pod_pending() -> None:
    """The Binding is still on its way."""
    known = ledger()
    known.assume("node", holder("a", on({0: 4})), 7)
    known.apply(PodsListed((pod("a", 7),), 9))
    assert (node_of(known).free, node_of(known).holders[0].hold) == ((12, 16), Hold.ASSUMED)


def test_an_assumption_ends_with_a_newer_list_that_lacks_the_pod() -> None:
    """It was deleted meanwhile."""
    known = ledger()
    known.assume("node", holder("a", on({0: 4})), 7)
    assert known.apply(PodsListed((), 7)) == ("node",)
    assert (node_of(known).free, known.is_gone("a")) == ((16, 16), True)


def test_an_assumption_becomes_a_bound_pod_where_the_event_says() -> None:
    """Which may be another node and other GPUs than assumed."""
    known = ledger(NodeChanged(record("other", gpus_of(16), 2)))
    known.assume("node", holder("a", on({0: 4})), 7)
    assert known.apply(PodChanged(pod("a", 8, node="other", footprint=on({0: 4})))) == ("node",)
    assert (node_of(known).free, node_of(known, "other").free) == ((16, 16), (12,))
    assert known.reservation("a") is None


def test_an_assumption_ends_with_a_pod_that_ended() -> None:
    """It failed while its Binding was on its way."""
    known = ledger(PodChanged(pod("a", 3)))
    known.assume("node", holder("a", on({0: 4})), 3)
    assert known.apply(PodChanged(pod("a", 4, ended=True))) == ("node",)
    assert (node_of(known).free, known.reservation("a"), list(known.pending)) == ((16, 16), None, [])


def test_lesson_15_only_forget_ends_an_assumption() -> None:
    """Neither time nor a release nor a new hold elsewhere, which might double-book its room."""
    known = ledger(NodeChanged(record("other", gpus_of(16), 2)), PodChanged(pod("a", 3)))
    known.assume("node", holder("a", on({0: 4})), 3)
    known.expire(1e9)
    known.release("a")
    known.hold("other", holder("a", on({0: 4})), 3, expires_s=9.0)
    assert (node_of(known).free, node_of(known, "other").free) == ((12, 16), (16,))
    assert known.forget("a") == ("node",)
    assert (node_of(known).free, known.forget("a")) == ((16, 16), ())


def test_a_hold_moves_with_the_next_filter_call() -> None:
    """It is the pod's only one."""
    known = ledger(NodeChanged(record("other", gpus_of(16), 2)))
    known.hold("node", holder("a", on({0: 4})), 3, expires_s=5.0)
    assert known.hold("other", holder("a", on({0: 4})), 3, expires_s=6.0) == ("node",)
    assert (node_of(known).free, node_of(known, "other").free) == ((16, 16), (12,))


def test_a_hold_ends_in_time() -> None:
    """At its end, not before."""
    known = ledger()
    known.hold("node", holder("a", on({0: 4})), 3, expires_s=5.0)
    assert (known.expire(4.9), node_of(known).free) == ((), (12, 16))
    assert (known.expire(5.0), node_of(known).free) == (("node",), (16, 16))
    assert known.expire(6.0) == ()


def test_a_hold_renewed_lasts_longer() -> None:
    """The same room, without a change of the node."""
    known = ledger()
    known.hold("node", holder("a", on({0: 4})), 3, expires_s=5.0)
    generation = known.generation
    known.hold("node", holder("a", on({0: 4})), 3, expires_s=8.0)
    assert (known.generation, known.expire(7.0), node_of(known).free) == (generation, (), (12, 16))


def test_lesson_6_a_bound_pod_is_not_reserved_for_again() -> None:
    """Where it is bound is known."""
    known = ledger(PodChanged(pod("a", 2, node="node", footprint=on({0: 4}))))
    known.assume("node", holder("a", on({1: 4})), 2)
    known.hold("node", holder("a", on({1: 4})), 2, expires_s=9.0)
    assert (node_of(known).free, list(known.reservations())) == ((12, 16), [])


def test_lesson_17_a_hold_takes_the_place() -> None:
    """Two places, three pods, no bind yet: the third is refused."""
    known = ledger()
    for uid in ("a", "b"):
        at = fitted(node_of(known), wholes(1)).chosen[0][0]
        known.hold("node", holder(uid, on(whole=[at])), 2, expires_s=5.0)
    assert refused(node_of(known), wholes(1)) is Misfit.NOT_IDLE


def test_a_view_without_a_pod() -> None:
    """Its own hold does not count against it; everything else does, and the ledger stays as it is."""
    known = ledger(NodeChanged(record("other", gpus_of(16), 2)))
    known.hold("node", holder("a", on({0: 4})), 3, expires_s=5.0)
    known.hold("node", holder("b", on({0: 8})), 3, expires_s=5.0)
    without = known.snapshot_without("a")
    assert ({name: each.free for name, each in without.nodes.items()}) == {"node": (8, 16), "other": (16,)}
    assert node_of(known).free == (4, 16)
    assert known.snapshot_without("x").nodes["node"] is node_of(known)


def test_a_holder_without_request_is_kept() -> None:
    """It charges no GPU, but it is there."""
    known = ledger()
    known.assume("node", Holder("a", "default", "a", None, None, cpu_milli=7), 2)
    assert (node_of(known).free, node_of(known).cpu_used_milli) == ((16, 16), 7)
