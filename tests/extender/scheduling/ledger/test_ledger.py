"""The ledger: who holds what, whatever order, however often and by which way events arrive."""

from collections.abc import Callable
from dataclasses import replace
from random import Random

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test
from msgspec import structs

from extender.scheduling.fitting.reasons import Misfit
from extender.scheduling.ledger.events import (
    ClusterEvent,
    NodeChanged,
    NodeDeleted,
    NodesListed,
    PodChanged,
    PodDeleted,
    PodRecord,
    PodsListed,
)
from extender.scheduling.ledger.ledger import CHANGES, TOMBSTONES, Ledger
from extender.scheduling.nodes.node import Hold, Holder
from tests.extender.scheduling.builders import (
    UNIT_MIB,
    fitted,
    gpu,
    gpus_of,
    holder,
    on,
    pod,
    record,
    refused,
    shares,
    used,
)
from tests.extender.scheduling.ledger_machine import AnyCluster, OwnBinds
from tests.extender.scheduling.ledgers import ledger, node_of

# To explain a failure Hypothesis would trace every line while it shrinks, which takes many times as long.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)
HISTORIES = settings(max_examples=120, stateful_step_count=25, deadline=None, phases=PHASES, report_multiple_bugs=False)


def test_conservation_and_replay() -> None:
    """Under random histories the ledger equals the naive account, however events arrive."""
    run_state_machine_as_test(AnyCluster, settings=HISTORIES)


def test_no_gpu_is_given_out_twice() -> None:
    """Placing by plan and assume alone never passes a GPU's capacity, at any step."""
    run_state_machine_as_test(OwnBinds, settings=HISTORIES)


def test_an_empty_ledger() -> None:
    """No nodes, generation 0."""
    known = Ledger(UNIT_MIB)
    assert (dict(known.snapshot().nodes), known.snapshot().generation, list(known.reservations())) == ({}, 0, [])


def test_a_bound_pod_is_charged() -> None:
    """On the GPUs of its footprint."""
    known = ledger(PodChanged(pod("a", 2, node="node", footprint=on({1: 6}))))
    assert node_of(known).free == (16, 10)
    assert [each.hold for each in node_of(known).holders] == [Hold.BOUND]


def test_a_pending_pod_is_not_charged_but_known() -> None:
    """It may be asked about."""
    known = ledger(PodChanged(pod("a", 2)))
    assert (node_of(known).free, set(known.pending), set(known.pods)) == ((16, 16), {"a"}, {"a"})


def test_pods_that_ask_for_no_gpu_are_charged_once_bound() -> None:
    """For the node's CPU; pending they are not even remembered."""
    plain = PodRecord("a", resource_version=2, cpu_milli=500)
    known = ledger(PodChanged(plain))
    assert known.pods == {}
    known.apply(PodChanged(structs.replace(plain, resource_version=3, node="node")))
    assert (node_of(known).cpu_used_milli, node_of(known).free) == (500, (16, 16))


def test_an_event_told_twice_changes_nothing() -> None:
    """Not even the generation."""
    events = (
        PodChanged(pod("a", 2, node="node", footprint=on({0: 4}))),
        NodeChanged(record("node", gpus_of(16, 16), 1)),
    )
    known = ledger(*events)
    generation, before = known.generation, node_of(known)
    assert [known.apply(event) for event in events] == [(), ()]
    assert (known.generation, node_of(known) is before) == (generation, True)


def test_a_stale_event_changes_nothing() -> None:
    """The pod was pending before it was bound, the node was smaller before it grew."""
    known = ledger(
        PodChanged(pod("a", 5, node="node", footprint=on({0: 4}))), NodeChanged(record("node", gpus_of(16, 16, 16), 6))
    )
    generation = known.generation
    known.apply(PodChanged(pod("a", 2)))
    known.apply(NodeChanged(record("node", gpus_of(16), 3)))
    known.apply(NodeDeleted("node", 4))
    assert (node_of(known).free, known.generation) == ((12, 16, 16), generation)


def test_a_heartbeat_changes_nothing() -> None:
    """A new resource version of an equal node; it changes nothing in the tables kept per node."""
    known = ledger()
    before = node_of(known)
    assert known.apply(NodeChanged(record("node", gpus_of(16, 16), 9))) == ()
    assert (node_of(known) is before, known.generation) == (True, 1)
    known.apply(NodeChanged(record("node", gpus_of(1), 8)))
    assert node_of(known) is before


def test_deleted_pods_never_come_back() -> None:
    """Neither by a late event nor by a late list, nor as an assumption."""
    bound = pod("a", 2, node="node", footprint=on({0: 4}))
    known = ledger(PodChanged(bound), PodDeleted("a"))
    generation = known.generation
    known.apply(PodChanged(bound))
    known.apply(PodsListed((bound,), 2))
    known.assume("node", holder("a", on({0: 4})), 2)
    known.hold("node", holder("a", on({0: 4})), 2, expires_s=9.0)
    assert (node_of(known).free, known.generation, known.is_gone("a")) == ((16, 16), generation, True)


def test_a_deleted_pod_that_was_never_seen_never_comes() -> None:
    """The deletion overtook the pod."""
    known = ledger(PodDeleted("a"), PodChanged(pod("a", 2, node="node", footprint=on({0: 4}))))
    assert node_of(known).free == (16, 16)


def test_a_deleted_node_that_was_never_seen_never_comes() -> None:
    """The deletion overtook the node; a newer node of that name does come."""
    known = Ledger(UNIT_MIB)
    known.apply(NodeDeleted("node", 5))
    known.apply(NodeChanged(record("node", gpus_of(16), 4)))
    assert dict(known.snapshot().nodes) == {}
    known.apply(NodeChanged(record("node", gpus_of(16), 6)))
    assert node_of(known).free == (16,)


def test_only_something_newer_brings_a_deleted_pod_back() -> None:
    """A deletion has a version: an event or a list from before it changes nothing, one from after it is believed."""
    bound = pod("a", 5, node="node", footprint=on({0: 4}))
    for shown in (PodChanged(structs.replace(bound, resource_version=9)), PodsListed((bound,), 9)):
        known = ledger(PodChanged(bound), PodDeleted("a", 8))
        for stale in (
            PodChanged(bound),
            PodsListed((bound,), 7),
            PodChanged(structs.replace(bound, resource_version=8)),
        ):
            known.apply(stale)
            assert (known.is_gone("a"), node_of(known).free) == (True, (16, 16))
        known.apply(shown)
        assert (known.is_gone("a"), node_of(known).free) == (False, (12, 16))


def test_a_deletion_that_is_older_than_the_pod_changes_nothing() -> None:
    """It is late, and the pod was shown again since."""
    known = ledger(PodChanged(pod("a", 9, node="node", footprint=on({0: 4}))), PodDeleted("a", 8))
    assert (known.is_gone("a"), node_of(known).free) == (False, (12, 16))


def test_a_list_knows_better_than_all_that_was_seen_up_to_its_version() -> None:
    """Also when it shows an older version of the object: the storage was restored, and its revision bumped."""
    known = ledger(
        PodChanged(pod("bound", 8, node="node", footprint=on({0: 4}))),
        PodChanged(structs.replace(pod("plain", 8, node="node"), request=None, cpu_milli=500)),
        PodDeleted("back", 7),
        PodChanged(pod("new", 9, node="node", footprint=on({0: 1}))),
        NodeChanged(record("node", gpus_of(16), 9)),
        NodeDeleted("other", 9),
    )
    pods = (
        pod("bound", 3),
        structs.replace(pod("plain", 3), request=None, cpu_milli=500),
        pod("back", 3, node="node", footprint=on({1: 2})),
    )
    known.apply(PodsListed(pods, 20))
    known.apply(NodesListed((record("node", gpus_of(16, 16), 2), record("other", gpus_of(9), 3)), 20))
    assert (node_of(known).free, node_of(known).cpu_used_milli) == ((16, 14), 0)
    assert (set(known.pods), set(known.pending)) == ({"bound", "back"}, {"bound"})
    assert node_of(known, "other").free == (9,)


def test_what_is_newer_than_a_list_stays() -> None:
    """A live read after the bind: the list is from before it."""
    bound = pod("a", 12, node="node", footprint=on({0: 4}))
    known = ledger(PodChanged(bound))
    known.apply(PodsListed((pod("a", 5),), 11))
    known.apply(PodsListed((), 11))
    assert node_of(known).free == (12, 16)
    known.apply(PodsListed((), 12))
    assert (node_of(known).free, known.is_gone("a")) == ((16, 16), True)


def test_a_list_of_an_older_history_resets_the_view() -> None:
    """Nothing seen before counts: no version, deletion or hold; what is assumed is kept where the pod is unbound."""
    known = ledger(
        PodChanged(pod("bound", 80, node="node", footprint=on({0: 4}))),
        PodChanged(pod("held", 60)),
        PodChanged(pod("assumed", 61)),
        PodChanged(pod("lost", 62)),
        PodDeleted("back", 70),
        NodeDeleted("other", 90),
    )
    known.hold("node", holder("held", on({0: 1})), 60, expires_s=9.0)
    known.assume("node", holder("assumed", on({0: 2})), 61)
    known.assume("node", holder("lost", on({0: 3})), 62)
    pods = (pod("bound", 3), pod("held", 4), pod("assumed", 5), pod("back", 6, node="node", footprint=on({1: 8})))
    known.apply(NodesListed((record("node", gpus_of(16, 16), 2), record("other", gpus_of(9), 7)), 50, rewound=True))
    known.apply(PodsListed(pods, 50, rewound=True))
    assert (node_of(known).free, node_of(known, "other").free) == ((14, 8), (9,))
    assert ([uid for uid, _ in known.reservations()], known.is_gone("lost")) == (["assumed"], True)
    known.apply(PodChanged(pod("bound", 51, node="node", footprint=on({1: 4}))))
    assert node_of(known).free == (14, 4)


def test_the_graveyard_is_bounded() -> None:
    """The oldest UIDs are forgotten first."""
    known = ledger(*(PodDeleted(str(at)) for at in range(TOMBSTONES + 1)))
    assert (known.is_gone("0"), known.is_gone("1"), known.is_gone(str(TOMBSTONES))) == (False, True, True)


def test_lesson_5_terminating_pods_hold_until_they_have_ended() -> None:
    """A deletion timestamp is a new version of the pod, no more."""
    terminating = pod("a", 3, node="node", footprint=on({0: 16}))
    known = ledger(PodChanged(pod("a", 2, node="node", footprint=on({0: 16}))))
    assert known.apply(PodChanged(terminating)) == ()
    assert refused(node_of(known), shares(16, 16)) is Misfit.FULL
    assert known.apply(PodChanged(structs.replace(terminating, resource_version=4, ended=True))) == ("node",)
    assert node_of(known).free == (16, 16)
    assert known.apply(PodDeleted("a")) == ()


def test_lesson_7_force_delete_and_recreate_under_the_same_name_leaks_nothing() -> None:
    """Pods are known by UID; forty of them, deleted before, after and without the new one's arrival."""
    known = ledger()
    for version in range(2, 42):
        new = pod(f"uid-{version}", version, node="node", footprint=on({0: 4}))
        known.apply(PodChanged(structs.replace(new, name="same")))
        assert used(node_of(known))["GPU-0"] == 4 * (1 if version == 2 else 2)
        if version > 2:
            known.apply(PodDeleted(f"uid-{version - 1}"))
        assert used(node_of(known)) == {"GPU-0": 4, "GPU-1": 0}
    known.apply(PodDeleted("uid-41"))
    assert node_of(known).holders == ()


def test_lesson_8_a_bound_pod_whose_node_is_gone_is_harmless() -> None:
    """And it is charged when a node of that name appears."""
    known = Ledger(UNIT_MIB)
    known.apply(PodChanged(pod("a", 1, node="node", footprint=on({0: 4}))))
    known.apply(PodsListed((pod("a", 1, node="node", footprint=on({0: 4})), pod("b", 2)), 3))
    assert dict(known.snapshot().nodes) == {}
    known.apply(NodeChanged(record("node", gpus_of(16), 4)))
    assert node_of(known).free == (12,)
    known.apply(NodeDeleted("node", 5))
    assert dict(known.snapshot().nodes) == {}
    known.apply(PodDeleted("a"))
    known.apply(NodeChanged(record("node", gpus_of(16), 6)))
    assert node_of(known).free == (16,)


def test_lesson_10_capacity_changes_are_followed() -> None:
    """Up and down, and the plugin that stops serving."""
    known = ledger(PodChanged(pod("a", 2, node="node", footprint=on({0: 4}))))
    known.apply(NodeChanged(record("node", gpus_of(80, 16), 3)))
    assert node_of(known).free == (76, 16)
    known.apply(NodeChanged(record("node", gpus_of(2), 4)))
    assert (node_of(known).free, node_of(known).gpus[0].overcommitted) == ((0,), 2)
    known.apply(NodeChanged(replace(record("node", gpus_of(80), 5), memory_units=0)))
    assert refused(node_of(known), shares(1)) is Misfit.NO_PLUGIN


def test_lesson_10_a_recreated_node_shows_no_ghosts() -> None:
    """It has its own GPUs, and only the pods that still are."""
    known = ledger(PodChanged(pod("a", 2, node="node", footprint=on({0: 16}))), NodeDeleted("node", 3), PodDeleted("a"))
    known.apply(NodeChanged(record("node", [gpu(7, 24)], 4, uid="new")))
    assert (used(node_of(known)), fitted(node_of(known), shares(24)).chosen) == ({"GPU-7": 0}, ((0,),))


def test_lesson_13_a_footprint_elsewhere_hides_nothing() -> None:
    """The pod says that it sits on a GPU which its node does not have."""
    known = ledger(PodChanged(pod("a", 2, node="node", footprint=on({9: 6}))))
    assert sum(used(node_of(known)).values()) == 6


def test_lesson_18_a_healed_gpu_is_more_room() -> None:
    """And a sick one is not, though its node did change."""
    known = ledger()
    known.apply(NodeChanged(record("node", [gpu(0, healthy=False), gpu(1)], 2)))
    assert node_of(known).free == (0, 16)
    assert known.apply(NodeChanged(record("node", gpus_of(16, 16), 3))) == ("node",)
    assert node_of(known).free == (16, 16)


def test_only_nodes_with_more_room_are_told() -> None:
    """A first pod on an idle GPU is none, nor is a pod after a heartbeat."""
    known = ledger()
    assert known.apply(PodChanged(pod("a", 2, node="node", footprint=on({0: 4})))) == ()
    known.apply(NodeChanged(record("node", gpus_of(16, 16), 3)))
    assert known.apply(PodChanged(pod("b", 4, node="node", footprint=on({1: 4})))) == ()
    assert known.hold("node", holder("c", on({1: 4})), 5, expires_s=1.0) == ()
    assert known.apply(PodDeleted("a")) == ("node",)
    assert known.expire(1.0) == ("node",)


def test_a_pod_that_moves_to_another_gpu_frees_the_first() -> None:
    """The kubelet gave it another one than planned."""
    known = ledger(PodChanged(pod("a", 2, node="node", footprint=on({0: 4}))))
    assert known.apply(PodChanged(pod("a", 3, node="node", footprint=on({1: 4})))) == ("node",)
    assert node_of(known).free == (16, 12)


def test_from_filter_to_the_watch_the_same_gpus_are_only_held_more_surely() -> None:
    """Held, assumed, bound: the GPUs are not computed again, the holder is another, and followers hear of it."""
    bound = pod("a", 3, node="node", footprint=on({1: 6}))
    held = Holder("a", "default", "a", bound.request, bound.footprint)
    known = ledger(PodChanged(structs.replace(bound, resource_version=2, node="", footprint=None)))
    known.hold("node", held, 2, 60.0)
    gpus, told = node_of(known).gpus, []
    steps: tuple[Callable[[], tuple[str, ...]], ...] = (
        lambda: known.assume("node", held, 2),
        lambda: known.apply(PodChanged(bound)),
    )
    for step in steps:
        _, position = known.changed_since(0)
        freed = step()
        told.append((freed, node_of(known).holders[0].hold, list(known.changed_since(position)[0] or ())))
        assert node_of(known).gpus is gpus
    assert told == [((), Hold.ASSUMED, ["node"]), ((), Hold.BOUND, ["node"])]


def test_changes_are_told_from_a_position() -> None:
    """Once each, however often a node changed; everything to who is new or too far behind."""
    known = ledger()
    everything, position = known.changed_since(-1)
    nothing, same = known.changed_since(position)
    assert (everything, list(nothing or ()), same) == (None, [], position)
    known.hold("node", holder("a", on({0: 4})), 3, expires_s=5.0)
    known.expire(5.0)
    changed, later = known.changed_since(position)
    assert (list(changed or ()), later) == (["node"], position + 2)
    for _ in range(CHANGES // 2 + 1):
        known.hold("node", holder("a", on({0: 4})), 3, expires_s=5.0)
        known.expire(5.0)
    assert known.changed_since(position)[0] is None


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(1, 6)), max_size=8), st.randoms())
def test_any_order_of_events_about_different_objects(rows: list[tuple[int, int, int]], random: Random) -> None:
    """Watches of nodes and of pods are not ordered against each other: the account is the same in the end."""
    events: list[ClusterEvent] = [NodeChanged(record(f"n{at}", gpus_of(9, 9, 9), at + 1)) for at in range(2)]
    for version, (node, at, units) in enumerate(rows, start=3):
        events.append(PodChanged(pod(f"p{version}", version, node=f"n{node}", footprint=on({at: units}))))
    ledgers = [Ledger(UNIT_MIB), Ledger(UNIT_MIB)]
    for event in events:
        ledgers[0].apply(event)
    for event in random.sample(events, len(events)):
        ledgers[1].apply(event)
    listed = Ledger(UNIT_MIB)
    listed.apply(PodsListed(tuple(e.pod for e in events if isinstance(e, PodChanged)), len(events)))
    listed.apply(NodesListed(tuple(e.node for e in events if isinstance(e, NodeChanged)), len(events)))
    one, other, relisted = (
        {name: structs.replace(info, generation=0) for name, info in each.snapshot().nodes.items()}
        for each in (*ledgers, listed)
    )
    assert one == other == relisted
