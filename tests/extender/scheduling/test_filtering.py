"""Filter: each node asked about is either feasible or has one reason."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from extender.scheduling.filtering import filter_nodes
from extender.scheduling.fitting.fitting import fit
from extender.scheduling.fitting.reasons import Misfit
from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Policy
from tests.extender.scheduling.builders import BINPACK, SPREAD, holder, node, on, shares, snapshot
from tests.extender.scheduling.strategies import POLICY, clusters, requests

SOME = settings(max_examples=50, deadline=None)
NAMES = st.lists(st.sampled_from([f"node-{at}" for at in range(6)]), max_size=10)


@SOME
@given(clusters(), NAMES, requests(), POLICY)
def test_partition(cluster: tuple[NodeInfo, ...], names: list[str], request: PodRequest, policy: Policy) -> None:
    """Feasible and rejected together are what was asked, in its order, and no name is in both."""
    filtered = filter_nodes(snapshot(*cluster), names, request, policy)
    feasible = [candidate.node for candidate in filtered.feasible]
    once = list(dict.fromkeys(names))
    assert {*feasible, *filtered.rejected} == set(names)
    assert feasible == [name for name in once if name not in filtered.rejected]
    assert list(filtered.rejected) == [name for name in once if name in filtered.rejected]


@SOME
@given(clusters(), NAMES, requests(), POLICY)
def test_each_answer_is_the_nodes_own(
    cluster: tuple[NodeInfo, ...], names: list[str], request: PodRequest, policy: Policy
) -> None:
    """One node's answer does not depend on the others."""
    filtered = filter_nodes(snapshot(*cluster), names, request, policy)
    answers = {each.name: fit(each, request, policy) for each in cluster}
    got = {candidate.node: candidate.fit for candidate in filtered.feasible} | dict(filtered.rejected)
    assert got == {name: answers.get(name, Misfit.UNKNOWN_NODE) for name in names}


@SOME
@given(clusters(), NAMES, requests(), POLICY, st.randoms(use_true_random=False))
def test_determinism(
    cluster: tuple[NodeInfo, ...], names: list[str], request: PodRequest, policy: Policy, random: Random
) -> None:
    """Any order of nodes and names gives the same best nodes."""
    one = filter_nodes(snapshot(*cluster), names, request, policy)
    shuffled = random.sample(cluster, len(cluster))
    other = filter_nodes(snapshot(*shuffled), random.sample(names, len(names)), request, policy)
    assert one.best(4) == other.best(4)
    assert dict(one.rejected) == dict(other.rejected)


@SOME
@given(clusters(), requests(), POLICY)
def test_the_best_are_those_of_lowest_cost(cluster: tuple[NodeInfo, ...], request: PodRequest, policy: Policy) -> None:
    """Best first, ties by name; and the best one is the first of the best ones."""
    filtered = filter_nodes(snapshot(*cluster), [each.name for each in cluster], request, policy)
    ranked = sorted(filtered.feasible, key=lambda candidate: (candidate.fit.cost, candidate.node))
    for count in range(6):
        assert filtered.best(count) == tuple(ranked[:count])


def test_unknown_nodes_are_told() -> None:
    """A node that the ledger has not seen yet."""
    filtered = filter_nodes(snapshot(), ["node"], shares(1), BINPACK)
    assert (filtered.feasible, filtered.rejected) == ((), {"node": Misfit.UNKNOWN_NODE})
    assert filtered.best(1) == ()


def test_policies_disagree() -> None:
    """Binpack goes to the fuller node, spread to the emptier one."""
    full, empty = node(16, holders=[holder("a", on({0: 8}))], name="full"), node(16, name="empty")
    both = snapshot(full, empty)
    for policy, expected in ((BINPACK, "full"), (SPREAD, "empty")):
        assert filter_nodes(both, ["empty", "full"], shares(4), policy).best(1)[0].node == expected
