"""Filter: the best of the nodes asked about, or one reason for each of them."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extender.scheduling.filtering import Filtered, filter_nodes
from extender.scheduling.fitting.fitting import Fit, fit
from extender.scheduling.fitting.reasons import Misfit
from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Policy
from extender.scheduling.policies.table import POLICIES
from extender.scheduling.ranking.rankings import Rankings
from tests.extender.scheduling.builders import BINPACK, SPREAD, holder, node, on, shares
from tests.extender.scheduling.ledgers import ledger_of
from tests.extender.scheduling.strategies import POLICY, clusters, requests

SOME = settings(max_examples=50, deadline=None)
FIRST_FIT = POLICIES["first-fit"]
NAMES = st.lists(st.sampled_from([f"node-{at}" for at in range(6)]), max_size=10)


def filtered_on(
    cluster: tuple[NodeInfo, ...], names: list[str], request: PodRequest, policy: Policy, answers: int = 1
) -> Filtered:
    """The answer of filter on a cluster of these nodes, asked about for the first time."""
    return filter_nodes(Rankings(), ledger_of(*cluster), names, request, policy, answers=answers)


@SOME
@given(clusters(), NAMES, requests(), POLICY)
def test_partition(cluster: tuple[NodeInfo, ...], names: list[str], request: PodRequest, policy: Policy) -> None:
    """With answers enough, each node on which the pod fits is named once; where it fits on none, each has a reason."""
    filtered = filtered_on(cluster, names, request, policy, answers=10)
    fitting = {each.name for each in cluster if each.name in names and isinstance(fit(each, request, policy), Fit)}
    assert sorted(filtered.ranked.names) == sorted(fitting)
    assert set(filtered.rejected) == (set() if fitting else set(names))


@SOME
@given(clusters(), NAMES, requests(), POLICY)
def test_each_answer_is_the_nodes_own(
    cluster: tuple[NodeInfo, ...], names: list[str], request: PodRequest, policy: Policy
) -> None:
    """One node's answer does not depend on the others."""
    filtered = filtered_on(cluster, names, request, policy)
    answers = {each.name: fit(each, request, policy) for each in cluster}
    if filtered.ranked.first is not None:
        assert filtered.ranked.first.fit == answers[filtered.ranked.first.node]
    else:
        assert filtered.rejected == {name: answers.get(name, Misfit.UNKNOWN_NODE) for name in names}


@SOME
@given(clusters(), NAMES, requests(), POLICY, st.randoms(use_true_random=False))
def test_determinism(
    cluster: tuple[NodeInfo, ...], names: list[str], request: PodRequest, policy: Policy, random: Random
) -> None:
    """Any order of nodes and names gives the same best nodes."""
    one = filtered_on(cluster, names, request, policy, answers=4)
    shuffled = tuple(random.sample(cluster, len(cluster)))
    other = filtered_on(shuffled, random.sample(names, len(names)), request, policy, answers=4)
    assert one == other


@SOME
@given(clusters(), requests(), POLICY)
def test_the_best_are_those_of_lowest_cost(cluster: tuple[NodeInfo, ...], request: PodRequest, policy: Policy) -> None:
    """Best first, ties by name; the first comes with its fit, the second with its cost."""
    answers = {each.name: fit(each, request, policy) for each in cluster}
    fits = {name: answer for name, answer in answers.items() if isinstance(answer, Fit)}
    expected = sorted(fits, key=lambda name: (fits[name].cost, name))
    for count in range(1, 6):
        ranked = filtered_on(cluster, list(answers), request, policy, count).ranked
        assert ranked.names == tuple(expected[:count])
        assert (ranked.first.node if ranked.first else None) == (expected[0] if expected else None)
        second = (ranked.runner_up.node, ranked.runner_up.cost) if ranked.runner_up else None
        assert second == ((expected[1], fits[expected[1]].cost) if len(expected) > 1 else None)
        assert (ranked.fitting, sum(ranked.refused.values())) == (len(fits), len(answers) - len(fits))


@pytest.mark.parametrize("others", [0, 40])
@pytest.mark.parametrize("asked", [["b", "a", "c"], ["c", "b", "a"], ["a", "c", "b"]])
def test_nodes_of_equal_cost_are_ordered_by_name(asked: list[str], others: int) -> None:
    """Whether they look alike or not, and whether most of the cluster is asked about or little of it."""
    alike = [node(16, 16, name=name) for name in ("c", "a", "b")]
    told_apart = [node(16, 16 + at, name=name) for at, name in enumerate(("c", "a", "b"))]
    elsewhere = [node(16, 16, name=f"other-{at}") for at in range(others)]
    for three in (alike, told_apart):
        cluster = (*elsewhere, *three)
        for count in (1, 2, 3):
            ranked = filtered_on(cluster, asked, shares(1), FIRST_FIT, count).ranked
            assert ranked.names == ("a", "b", "c")[:count]


def test_unknown_nodes_are_told() -> None:
    """A node that the ledger has not seen yet."""
    filtered = filtered_on((), ["node"], shares(1), BINPACK)
    assert (filtered.ranked.names, filtered.ranked.first) == ((), None)
    assert filtered.rejected == {"node": Misfit.UNKNOWN_NODE}


def test_policies_disagree() -> None:
    """Binpack goes to the fuller node, spread to the emptier one."""
    full, empty = node(16, holders=[holder("a", on({0: 8}))], name="full"), node(16, name="empty")
    for policy, expected in ((BINPACK, "full"), (SPREAD, "empty")):
        assert filtered_on((full, empty), ["empty", "full"], shares(4), policy).ranked.names == (expected,)
