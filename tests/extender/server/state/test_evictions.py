"""What is remembered of the pods that others are evicted for: the victims named, and where they are nominated."""

from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.preempting.victims import Victims
from extender.server.state.evictions import MAX_REMEMBERED, UNSEEN_S, Evictions


def test_victims_are_those_named_for_the_node() -> None:
    """Not those of another node or pod, and none once the pod has a node."""
    evictions = Evictions()
    evictions.remember("urgent", {"a": Victims(("low",))}, 0.0)
    asked = [("urgent", "a"), ("urgent", "b"), ("other", "a")]
    assert [tuple(evictions.victims(uid, node, 1.0)) for uid, node in asked] == [("low",), (), ()]
    evictions.forget("urgent")
    assert evictions.victims("urgent", "a", 1.0) == ()


def test_victims_that_nobody_deletes_are_forgotten() -> None:
    """kube-scheduler may have thought better of it, or was not allowed to."""
    evictions = Evictions()
    evictions.remember("urgent", {"a": Victims(("low",))}, 1.0)
    assert evictions.victims("urgent", "a", 0.9 + UNSEEN_S) == ("low",)
    assert evictions.victims("urgent", "a", 1.0 + UNSEEN_S) == ()


def test_what_is_remembered_is_bounded() -> None:
    """The oldest answer goes first."""
    evictions = Evictions()
    for number in range(MAX_REMEMBERED + 1):
        evictions.remember(f"pod-{number}", {"a": Victims(("low",))}, 0.0)
    assert [evictions.victims(f"pod-{number}", "a", 0.0) for number in (0, 1)] == [(), ("low",)]


def test_an_answer_is_kept_no_longer_than_it_counts() -> None:
    """Each names the victims of up to hundreds of nodes: a thousand of them would be hundreds of megabytes."""
    evictions = Evictions()
    victims = Victims(("low",))
    evictions.remember("first", {"a": victims}, 0.0)
    evictions.remember("second", {"a": victims}, UNSEEN_S)
    # Asked as of a time when it would still count.
    assert [evictions.victims(uid, "a", 1.0) for uid in ("first", "second")] == [(), ("low",)]


def test_a_nomination_is_as_old_as_its_node() -> None:
    """Noted again it stays as it is; elsewhere it begins anew; cleared it is gone."""
    evictions = Evictions()
    seen = []
    for node, now_s in (("a", 1.0), ("a", 2.0), ("b", 3.0), ("", 4.0)):
        evictions.note(PodRecord("urgent", nominated_node=node), now_s)
        known = evictions.nomination("urgent")
        seen.append((known.since_s if known else None, list(evictions.nominated("a")), bool(evictions)))
    assert seen == [(1.0, ["urgent"], True), (1.0, ["urgent"], True), (3.0, [], True), (None, [], False)]


def test_kube_scheduler_waits_once_for_the_same_victims() -> None:
    """When one of them has gone, the others may be about to go; and a pod that was placed begins anew."""
    evictions = Evictions()
    evictions.wait_over("urgent", frozenset({"a", "b"}))
    asked = [frozenset({"a", "b"}), frozenset({"b"})]
    assert [evictions.has_waited("urgent", victims) for victims in asked] == [True, False]
    evictions.forget("urgent")
    assert not evictions.has_waited("urgent", asked[0])
