"""Scores are whole numbers from 0 to 10 in the order of the policy's costs."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from extender.scheduling.prioritizing import MAX_SCORE, prioritize

COSTS = st.dictionaries(
    st.sampled_from("abcdefghijklmnopqrstuvwxyz"),
    st.tuples(st.integers(0, 4).map(float), st.integers(0, 4).map(float)),
    min_size=1,
)


@settings(max_examples=200, deadline=None)
@given(COSTS, st.data())
def test_scores_are_whole_and_in_order(costs: dict[str, tuple[float, ...]], data: st.DataObject) -> None:
    """The best gets 10, equal costs get equal scores, and a worse cost never gets a better score."""
    names = data.draw(st.permutations(sorted(costs)))
    answers = prioritize(costs, names)
    assert [name for name, _ in answers] == names
    scores = dict(answers)
    assert all(type(score) is int and 0 <= score <= MAX_SCORE for score in scores.values())
    assert {scores[name] for name in costs if costs[name] == min(costs.values())} == {MAX_SCORE}
    in_order = sorted(costs, key=lambda name: costs[name])
    for better, worse in pairwise(in_order):
        assert scores[better] >= scores[worse]
        assert costs[better] != costs[worse] or scores[better] == scores[worse]


@settings(max_examples=100, deadline=None)
@given(COSTS)
def test_up_to_eleven_costs_are_told_apart(costs: dict[str, tuple[float, ...]]) -> None:
    """That is what the scale can do; the worst of several gets 0."""
    scores = dict(prioritize(costs, list(costs)))
    different = len(set(costs.values()))
    assert len(set(scores.values())) == min(different, MAX_SCORE + 1)
    if different > 1:
        assert min(scores.values()) == 0


def test_a_node_on_which_the_pod_does_not_fit_gets_nothing() -> None:
    """It was full between filter and prioritize, or is not known."""
    assert prioritize({"a": (1.0,)}, ["b", "a"]) == [("b", 0), ("a", 10)]
    assert prioritize({}, ["a"]) == [("a", 0)]
    assert prioritize({"a": (1.0,)}, []) == []
