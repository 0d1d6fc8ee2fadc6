"""Advice to drain empties only what would really be empty, and says what moves where."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.capacity.cluster import Cluster, PodTraits
from extender.capacity.draining import DrainAdvice, advise_drain, saved_usd_per_hour
from extender.capacity.eligibility import Constraints, NodeTraits
from tests.extender.capacity.clusters import cluster, machine, owned, running, uuid
from tests.extender.scheduling.builders import A100, mig, record, shares

PINNED = "cluster-autoscaler.kubernetes.io/safe-to-evict"


def _usd(model: str) -> float | None:
    return None if model == "unpriced" else 2.0


def _advise(here: Cluster, *, force: bool = False) -> DrainAdvice:
    return advise_drain(here, "binpack", _usd, force=force)


def _moves(advice: DrainAdvice) -> dict[str, list[tuple[str, str]]]:
    return {one.node: [(move.pod.name, move.node) for move in one.moves] for one in advice.emptied}


def _kept(advice: DrainAdvice) -> dict[str, tuple[str, str]]:
    return {one.node: (one.pod.name, one.why) for one in advice.kept}


TWO = (machine("n1", 16, 16), machine("n2", 16, 16))


def test_the_emptier_of_two_nodes_moves_onto_the_other() -> None:
    """With the GPUs that its pod would get, and what that saves."""
    advice = _advise(cluster(TWO, [running("a", "n1", 4), running("b", "n2", 8)]))
    assert (_moves(advice), list(_kept(advice))) == ({"n1": [("a", "n2")]}, ["n2"])
    footprint = advice.emptied[0].moves[0].footprint
    assert footprint is not None
    assert dict(footprint.shares) == {uuid("n2", 0): 4}
    assert (advice.emptied[0].gpus, saved_usd_per_hour(advice.emptied)) == (2, 4.0)


def test_nothing_moves_to_an_idle_node() -> None:
    """That would save nothing; the idle node is named instead."""
    advice = _advise(cluster(TWO, [running("a", "n1", 4)]))
    assert ([one.node for one in advice.idle], _moves(advice)) == (["n2"], {})
    assert _kept(advice)["n1"] == ("a", "no other node with GPUs is in use")


def test_all_or_nothing_leaves_everything_where_it_was() -> None:
    """The larger pod of n1 would fit, the two together do not, so n2's pod still finds the room that they have left."""
    nodes = [machine("n1", 16), machine("n2", 16)]
    advice = _advise(cluster(nodes, [running("a", "n1", 6), running("b", "n1", 5), running("c", "n2", 10)]))
    assert _moves(advice) == {}
    nodes = [machine("n1", 16, 16), machine("n2", 16)]
    advice = _advise(cluster(nodes, [running("a", "n1", 6), running("b", "n1", 9), running("c", "n2", 9)]))
    assert _moves(advice) == {"n2": [("c", "n1")]}


def test_a_node_that_takes_pods_in_is_not_emptied_afterwards() -> None:
    """No pod moves twice."""
    nodes = [machine(f"n{at}", 16) for at in range(4)]
    advice = _advise(cluster(nodes, [running(f"p{at}", f"n{at}", 4 + at) for at in range(4)]))
    targets = {move.node for one in advice.emptied for move in one.moves}
    assert targets.isdisjoint(one.node for one in advice.emptied)
    assert (len(advice.emptied), len(advice.kept)) == (2, 2)


def test_pods_that_belong_to_the_node_or_are_leaving_do_not_count() -> None:
    """A DaemonSet's pod goes with its node."""
    traits = {"d": owned(with_node=True), "gone": owned(leaving=True)}
    pods = [running("d", "n1", cpu=1), running("gone", "n1", 4), running("b", "n2", 8)]
    advice = _advise(cluster(TWO, pods, pod_traits=traits))
    assert [one.node for one in advice.idle] == ["n1"]


def test_pods_without_gpus_need_a_place_too() -> None:
    """Nodes without GPUs take them."""
    nodes = [machine("n1", 16, cpu=4), machine("n2", 16, cpu=4), machine("cpu", cpu=4)]
    pods = [running("web", "n1", cpu=3), running("a", "n2", 4, cpu=2), running("b", "cpu", cpu=2)]
    kept = _kept(_advise(cluster(nodes, pods)))
    assert kept["n1"] == ("web", "fits on no other node in use: CPU of the nodes")
    pods = [running("web", "n1", cpu=2), *pods[1:]]
    assert _moves(_advise(cluster(nodes, pods))) == {"n1": [("web", "cpu")]}


@pytest.mark.parametrize(
    ("traits", "why"),
    [
        (PodTraits(), "bare pod: no controller would recreate it (--force counts it as moved)"),
        (owned(pinned=PINNED), f"annotation {PINNED} forbids eviction"),
        (owned(Constraints((("zone", "a"),))), "fits on no other node in use: node selector or affinity"),
    ],
)
def test_who_must_not_move_keeps_the_node(traits: PodTraits, why: str) -> None:
    """And the reason is said."""
    node_traits = [NodeTraits("n1", {"zone": "a"}), NodeTraits("n2", {"zone": "b"})]
    here = cluster(
        TWO, [running("a", "n1", 4), running("b", "n2", 8)], node_traits=node_traits, pod_traits={"a": traits}
    )
    assert _kept(_advise(here))["n1"] == ("a", why)


def test_bare_pods_count_as_moved_when_forced() -> None:
    """As with kubectl drain."""
    here = cluster(TWO, [running("a", "n1", 4), running("b", "n2", 8)], pod_traits={"a": PodTraits()})
    assert _moves(_advise(here, force=True)) == {"n1": [("a", "n2")]}


def test_what_is_not_known_is_said() -> None:
    """Budgets, fields that are not judged, what is lost, and who waits."""
    traits = {"a": owned(Constraints(unchecked=("topologySpreadConstraints",)), loses=("emptyDir volumes",))}
    pods = [running("a", "n1", 4), running("b", "n2", 8), running("w", "", request=shares(99))]
    assert _advise(cluster(TWO, pods, pod_traits=traits)).notes == (
        "PodDisruptionBudgets are not considered",
        "1 pod to move: topologySpreadConstraints is not considered",
        "1 pod to move would lose emptyDir volumes",
        "1 pod waiting for GPUs",
    )


def test_an_unknown_price_stays_unknown() -> None:
    """It is not 0."""
    nodes = [machine("n1", 16, model="unpriced"), machine("n2", 16)]
    advice = _advise(cluster(nodes, [running("a", "n1", 4), running("b", "n2", 8)]))
    assert ([one.usd_per_hour for one in advice.emptied], saved_usd_per_hour(advice.emptied)) == ([None], None)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1), st.integers(1, 16)), max_size=12))
def test_after_all_moves_nothing_is_given_out_twice(placed: list[tuple[int, int, int]]) -> None:
    """Carried out on a fresh ledger in the order given, every move fits, and the nodes are empty."""
    nodes = [machine(f"n{at}", 16, 16) for at in range(4)]
    used: dict[tuple[int, int], int] = {}
    pods = []
    for number, (node, gpu, units) in enumerate(placed):
        if used.get((node, gpu), 0) + units <= 16:
            used[node, gpu] = used.get((node, gpu), 0) + units
            pods.append(running(f"p{number}", f"n{node}", units, gpu=gpu))
    here = cluster(nodes, pods)
    advice = _advise(here)
    packing = here.packing("binpack")
    for one in advice.emptied:
        for move in one.moves:
            packing.put(move.pod, move.node, move.footprint)
        assert not packing.node(one.node).holders
    assert all(gpu.used <= gpu.capacity for node in packing.nodes for gpu in node.gpus)
    kept = {one.node for one in advice.kept} | {one.node for one in advice.emptied} | {one.node for one in advice.idle}
    assert kept == {node.name for node in nodes}


def test_the_node_that_saves_most_for_what_moves_comes_first() -> None:
    """Both hold the same; the dear one is emptied onto the cheap one, and not the other way round."""
    dear, cheap = machine("a", 16, 16, model="dear"), machine("b", 16, 16)
    for names in (("a", "b"), ("b", "a")):
        nodes = [{"a": dear, "b": cheap}[name] for name in names]
        here = cluster(nodes, [running("p", "a", 4), running("q", "b", 4)])
        advice = advise_drain(here, "binpack", lambda model: 8.0 if model == "dear" else 2.0)
        assert _moves(advice) == {"a": [("p", "b")]}
    swapped = cluster([machine("a", 16, 16), machine("b", 16, 16, model="dear")], here.pods)
    advice = advise_drain(swapped, "binpack", lambda model: 8.0 if model == "dear" else 2.0)
    assert _moves(advice) == {"b": [("q", "a")]}


def test_a_gpu_in_mig_devices_saves_what_it_costs_once() -> None:
    """At the price of its own model."""
    split = record("n1", [mig(at) for at in range(7)])
    (idle,) = advise_drain(cluster([split]), "binpack", {A100: 5.0}.get).idle
    assert (idle.gpus, idle.usd_per_hour) == (1, 5.0)
