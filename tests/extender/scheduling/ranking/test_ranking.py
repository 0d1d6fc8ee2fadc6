"""A ranking finds what looking at every node would find, however the nodes changed before."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extender.scheduling.fitting.reasons import Misfit
from extender.scheduling.ledger.events import NodeChanged, NodeDeleted, PodChanged, PodDeleted, PodRecord
from extender.scheduling.ledger.ledger import Ledger
from extender.scheduling.pods.footprint import Footprint
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Policy
from extender.scheduling.ranking import looks
from extender.scheduling.ranking.looks import Groups, full_look_of
from extender.scheduling.ranking.ranking import Ranking
from tests.extender.scheduling.builders import BINPACK, UNIT_MIB, gpus_of, record, shares, uuid
from tests.extender.scheduling.counting_policy import CountingPolicy
from tests.extender.scheduling.naive_filter import filter_from_scratch
from tests.extender.scheduling.strategies import POLICY, records, requests

NAMES = [f"node-{number}" for number in range(5)]


def _check(ranking: Ranking, ledger: Ledger, asked: list[str], request: PodRequest, policy: Policy) -> None:
    expected = filter_from_scratch(ledger.snapshot(), asked, request, policy)
    for count in (1, 3):
        best, ranked = expected.best(count), ranking.best(ledger, asked, count)
        assert (ranked.names, ranked.first) == (tuple(one.node for one in best), best[0] if best else None)
    assert ranking.costs(ledger, asked) == {one.node: one.fit.cost for one in expected.feasible}
    assert ranking.refusals(ledger, asked) == expected.rejected
    everywhere = filter_from_scratch(ledger.snapshot(), list(ledger.nodes), request, policy)
    ranked = ranking.best(ledger, asked, 1)
    assert (ranked.fitting, sum(ranked.refused.values())) == (len(everywhere.feasible), len(everywhere.rejected))


@settings(max_examples=100, deadline=None)
@given(data=st.data(), request=requests(most=2), policy=POLICY)
def test_cached_answers_equal_answers_from_scratch(data: st.DataObject, request: PodRequest, policy: Policy) -> None:
    """Nodes come, change and go, pods come and go, questions about any nodes and single steps in between.

    So it is however many empty groups and moves between groups are remembered.
    """
    ledger, groups = Ledger(UNIT_MIB), Groups(full_look_of)
    ranking = Ranking(request, policy, groups)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(looks, "EMPTY_GROUPS", data.draw(st.sampled_from([0, 1, 1024])))
        patch.setattr(looks, "MOVES", data.draw(st.sampled_from([0, 4, 1024])))
        patch.setattr(looks, "MOVES_PER_GROUP", 0)
        for version in range(1, data.draw(st.integers(2, 14)) + 1):
            name = data.draw(st.sampled_from(NAMES))
            match data.draw(st.sampled_from(["node", "node", "gone", "pod", "pod", "ended", "ask", "step", "other"])):
                case "node":
                    ledger.apply(NodeChanged(replace(data.draw(records(name)), resource_version=version)))
                case "gone":
                    ledger.apply(NodeDeleted(name, version))
                case "pod":
                    held = Footprint({uuid(data.draw(st.integers(0, 3))): data.draw(st.integers(1, 6))})
                    ledger.apply(PodChanged(PodRecord(f"p{version}", node=name, request=request, footprint=held)))
                case "ended":
                    ledger.apply(PodDeleted(f"p{version - 1}"))
                case "step":
                    ranking.catch_up(ledger, 1)
                case "other":
                    groups.follow(ledger)
                case _:
                    _check(ranking, ledger, data.draw(st.lists(st.sampled_from(NAMES))), request, policy)
        _check(ranking, ledger, NAMES, request, policy)


@pytest.mark.parametrize("forgetting", [{"EMPTY_GROUPS": 0}, {"MOVES": 0, "MOVES_PER_GROUP": 0}])
def test_what_moved_may_be_forgotten_without_loss_of_answers(
    monkeypatch: pytest.MonkeyPatch, forgetting: dict[str, int]
) -> None:
    """Nodes that look as they did are not judged again."""
    for name, value in forgetting.items():
        monkeypatch.setattr(looks, name, value)
    ledger, policy = Ledger(UNIT_MIB), CountingPolicy(BINPACK)
    ranking = Ranking(shares(2), policy, Groups())
    for at, name in enumerate(NAMES):
        ledger.apply(NodeChanged(record(name, gpus_of(4 + at), 1)))
    assert (ranking.catch_up(ledger), policy.judged) == (True, 5)
    for version in range(2, 12):
        ledger.apply(NodeChanged(record(NAMES[0], gpus_of(20 + version), version)))
        _check(ranking, ledger, NAMES, shares(2), BINPACK)
    assert policy.judged == 5 + 10


def test_refusals_are_counted_right_after_moves_were_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of nodes on which the request does not fit, whatever happened to the others."""
    monkeypatch.setattr(looks, "MOVES", 0)
    monkeypatch.setattr(looks, "MOVES_PER_GROUP", 0)
    ledger = Ledger(UNIT_MIB)
    ranking = Ranking(shares(8), BINPACK, Groups())
    for at, name in enumerate(NAMES):
        ledger.apply(NodeChanged(record(name, gpus_of(6 + at // 2), 1)))
    for version in range(2, 6):
        ledger.apply(NodeChanged(record("other", gpus_of(10 + version), version)))
        ranked = ranking.best(ledger, NAMES, 1)
        assert (ranked.fitting, ranked.refused) == (2, {Misfit.TOO_LARGE: 4})


def test_a_ranking_that_fell_too_far_behind_looks_at_all_nodes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of changes is bounded; forgetting some costs time, never truth."""
    monkeypatch.setattr("extender.scheduling.ledger.ledger.CHANGES", 4)
    request = PodRequest(demands=())
    ledger, ranking = Ledger(UNIT_MIB), Ranking(request, BINPACK, Groups())
    for version in range(1, 20):
        ledger.apply(NodeChanged(record(NAMES[version % 5], gpus_of(version), version)))
        if version in {2, 17}:
            _check(ranking, ledger, NAMES, request, BINPACK)
