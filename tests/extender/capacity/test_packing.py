"""Packing places pods where the shipped filter would, on the nodes that kube-scheduler would show it."""

from hypothesis import given
from hypothesis import strategies as st

from extender.capacity.cluster import Cluster
from extender.capacity.eligibility import ANYWHERE, Constraints, NodeTraits, Taint, ineligible
from extender.capacity.packing import Packing
from extender.scheduling.pods.request import PodRequest, pod_request
from extender.scheduling.policies.table import POLICIES
from tests.extender.capacity.clusters import cluster, machine, running
from tests.extender.scheduling.builders import app, shares
from tests.extender.scheduling.naive_filter import filter_from_scratch

ZONE = Constraints((("zone", "a"),))


def _small() -> Cluster:
    nodes = [machine("n1", 16, 16, cpu=4), machine("n2", 16, cpu=8), machine("n3", 16, 8, cpu=64)]
    traits = [
        NodeTraits("n1", {"zone": "a"}, most_pods=3),
        NodeTraits("n2", {"zone": "a"}, (Taint("x"),)),
        NodeTraits("n3", {"zone": "b"}),
    ]
    return cluster(nodes, [running("old", "n3", 6)], node_traits=traits)


STEPS = st.lists(
    st.tuples(st.integers(1, 16), st.integers(0, 3), st.sampled_from((ANYWHERE, ZONE)), st.booleans()), max_size=20
)


@given(STEPS, st.sampled_from(sorted(POLICIES)))
def test_it_chooses_what_filter_chooses(steps: list[tuple[int, int, Constraints, bool]], policy: str) -> None:
    """Whatever came, went and was closed before, for every policy; a refused pod fits nowhere."""
    packing = _small().packing(policy)
    placed: list[str] = []
    for number, (units, cpu, constraints, leave) in enumerate(steps):
        request = pod_request((app(units),), cpu_milli=1000 * cpu)
        shown = _shown(packing, request, constraints)
        chosen = packing.policy_of(request)
        best = filter_from_scratch(packing.ledger.snapshot(), shown, request, chosen).best(1)
        plan = packing.place(str(number), request, constraints)
        assert [one.node for one in best] == ([plan.node] if plan else [])
        if plan:
            assert plan.cost == best[0].fit.cost
            placed.append(str(number))
        if leave and placed:
            packing.remove(placed.pop(0))


def _shown(packing: Packing, request: PodRequest, constraints: Constraints) -> list[str]:
    return [
        node.name
        for node in packing.nodes
        if node.cpu_free_milli >= request.cpu_milli
        and len(node.holders) < (packing.traits(node.name).most_pods or 110)
        and ineligible(constraints, packing.traits(node.name)) is None
    ]


def test_closed_nodes_take_nothing_until_they_are_opened() -> None:
    """The same pod then goes where it would have gone."""
    packing = cluster([machine("n1", 16), machine("n2", 16)]).packing("binpack")
    packing.close(["n1"])
    assert [plan.node for plan in map(packing.place, ("a", "b"), (shares(8), shares(8))) if plan] == ["n2", "n2"]
    assert packing.place("c", shares(8)) is None
    packing.open(["n1"])
    plan = packing.place("c", shares(8))
    assert plan is not None
    assert plan.node == "n1"


def test_a_pod_that_is_placed_again_moves() -> None:
    """What it held is free."""
    packing = cluster([machine("n1", 16), machine("n2", 16)], [running("a", "n1", 8)]).packing("binpack")
    packing.close(["n1"])
    plan = packing.place("a", shares(8))
    assert plan is not None
    assert (plan.node, packing.node("n1").free, packing.node("n2").free) == ("n2", (16,), (8,))


def test_a_pods_own_policy_places_it() -> None:
    """As in the extender."""
    packing = cluster([machine("n1", 16), machine("n2", 16)], [running("a", "n1", 4)]).packing("binpack")
    spread = packing.place("s", pod_request((app(4),), policy="spread"))
    packed = packing.place("p", shares(4))
    assert spread is not None
    assert packed is not None
    assert (spread.node, packed.node) == ("n2", "n1")


def test_pods_without_gpus_go_where_most_cpu_is_free() -> None:
    """And nowhere when there is none."""
    packing = cluster([machine("n1", cpu=4), machine("n2", cpu=8)], [running("a", "n2", cpu=6)]).packing("binpack")
    plain = PodRequest((), cpu_milli=3000)
    assert [packing.place_plain(name, plain) for name in ("b", "c")] == ["n1", None]
