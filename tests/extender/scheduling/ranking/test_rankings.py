"""Rankings are bounded, kept apart, and can be prepared for other policies a little at a time."""

from dataclasses import replace

import pytest

from extender.scheduling.learning.weights import Weights
from extender.scheduling.ledger.events import NodeChanged
from extender.scheduling.ledger.ledger import Ledger
from extender.scheduling.policies.price_fit import PriceFit
from extender.scheduling.ranking.rankings import InForce, Rankings
from tests.extender.scheduling.builders import BINPACK, SPREAD, UNIT_MIB, gpus_of, record, shares
from tests.extender.scheduling.naive_filter import filter_from_scratch

NAMES = [f"node-{number}" for number in range(5)]


def _ledger() -> Ledger:
    """Five nodes, no two alike."""
    ledger = Ledger(UNIT_MIB)
    for at, name in enumerate(NAMES):
        ledger.apply(NodeChanged(record(name, gpus_of(8 + at), at + 1)))
    return ledger


def test_rankings_are_kept_apart_by_request_and_policy() -> None:
    """And found again."""
    rankings = Rankings()
    first, second = rankings.of(shares(2), BINPACK), rankings.of(shares(2), SPREAD)
    assert first is not second
    assert rankings.of(shares(2), BINPACK) is first
    assert rankings.of(replace(shares(2), gpu_count=2), BINPACK) is not first


def test_the_kind_asked_longest_ago_is_dropped() -> None:
    """When another would pass the bound on answers."""
    ledger, rankings = _ledger(), Rankings(entries=10)
    first, second = rankings.of(shares(1), BINPACK), rankings.of(shares(2), BINPACK)
    for ranking in (first, second):
        assert ranking.best(ledger, NAMES, 1).names[0] == "node-0"
    assert (first.entries, second.entries) == (5, 5)
    assert rankings.of(shares(1), BINPACK) is first
    rankings.of(shares(3), BINPACK)
    assert rankings.of(shares(1), BINPACK) is first
    assert rankings.of(shares(2), BINPACK) is not second


def test_at_least_one_answer() -> None:
    """A memory of nothing is a mistake."""
    with pytest.raises(ValueError, match="entries is 0, expected at least 1"):
        Rankings(entries=0)


def test_other_policies_are_prepared_in_steps() -> None:
    """Each step computes no more than it was allowed, changes in between count, and the answers are those of fit."""
    ledger, rankings = _ledger(), Rankings()
    requests = [shares(2), shares(9)]
    for request in requests:
        rankings.of(request, PriceFit()).best(ledger, NAMES, 1)
    policy = PriceFit(Weights(cpu_per_unit=100.0))
    other = rankings.under({policy.name: policy})
    steps = 1
    while not other.prepare(ledger, 2):
        steps += 1
        ledger.apply(NodeChanged(record("node-0", gpus_of(20), 100 + steps)))
        assert steps < 100
    assert steps >= 5
    for request in requests:
        ranking = other.of(request, policy)
        before = ranking.entries
        expected = filter_from_scratch(ledger.snapshot(), NAMES, request, policy)
        names = tuple(one.node for one in expected.best(2))
        assert (ranking.best(ledger, NAMES, 2).names, ranking.entries) == (names, before)


def test_new_weights_come_into_force_with_their_answers_prepared() -> None:
    """For the kinds of request that are known, under the policies of the new weights."""
    ledger, now = _ledger(), InForce()
    now.rankings.of(shares(2), now.policies["price-fit"]).best(ledger, NAMES, 1)
    coming = now.under(Weights(cpu_per_unit=100.0))
    assert coming.prepare(ledger, 100)
    policy = coming.policies["price-fit"]
    assert policy != now.policies["price-fit"]
    assert coming.rankings.of(shares(2), policy).entries == 5
