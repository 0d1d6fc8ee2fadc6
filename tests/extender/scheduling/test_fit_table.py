"""The table of answers never says anything else than fit computed from scratch."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extender.scheduling.events import NodeChanged, NodeDeleted, PodChanged, PodDeleted
from extender.scheduling.fit_table import FitTable
from extender.scheduling.fitting import fit
from extender.scheduling.ledger import Ledger
from extender.scheduling.request import PodRequest
from tests.extender.scheduling.builders import (
    BINPACK,
    SPREAD,
    UNIT_MIB,
    fitted,
    gpus_of,
    holder,
    node,
    on,
    pod,
    record,
    shares,
    wholes,
)
from tests.extender.scheduling.strategies import POLICY, requests

NAMES = ("a", "b", "c")


@settings(max_examples=40, deadline=None)
@given(st.lists(requests(), min_size=1, max_size=3), st.data())
def test_the_table_equals_fit_under_random_events(asked: list[PodRequest], data: st.DataObject) -> None:
    """Whatever happens to the nodes, and however few kinds of request it remembers."""
    ledger, table = Ledger(UNIT_MIB), FitTable(kinds=2)
    for version in range(1, 15):
        name = data.draw(st.sampled_from(NAMES))
        uid = data.draw(st.sampled_from(["p", "q", "r"]))
        match data.draw(st.sampled_from(["node", "node gone", "pod", "pod gone", "held", "expired", "pruned"])):
            case "node":
                sizes = data.draw(st.lists(st.integers(1, 12), max_size=3))
                ledger.apply(NodeChanged(record(name, gpus_of(*sizes), version)))
            case "node gone":
                ledger.apply(NodeDeleted(name, version))
            case "pod":
                footprint = on({data.draw(st.integers(0, 2)): data.draw(st.integers(1, 6))})
                ledger.apply(PodChanged(pod(f"{uid}{version}", version, node=name, footprint=footprint)))
            case "pod gone":
                ledger.apply(PodDeleted(f"{uid}{version - 1}"))
            case "held":
                ledger.hold(name, holder(uid, on({0: 2})), version, expires_s=version + 2)
            case "expired":
                ledger.expire(version)
            case "pruned":
                table.prune(set(ledger.snapshot().nodes))
        for request in asked:
            policy = data.draw(POLICY)
            answers = table.answers(request, policy)
            for each in ledger.snapshot().nodes.values():
                assert answers.get(each) == fit(each, request, policy)


def test_pods_of_one_shape_share_their_answers() -> None:
    """That is what makes a burst of equal pods cheap."""
    table = FitTable()
    assert table.answers(shares(4), BINPACK) is table.answers(shares(4), BINPACK)
    assert table.answers(shares(4), BINPACK) is not table.answers(shares(4), SPREAD)
    assert table.answers(shares(4), BINPACK) is not table.answers(wholes(4), BINPACK)


def test_an_answer_is_computed_once_per_node() -> None:
    """The same object as long as the node is the same object, even among nodes of one name."""
    answers, one, same = FitTable().answers(shares(4), BINPACK), node(16), node(16)
    first = answers.get(one)
    assert answers.get(one) is first
    assert answers.get(same) is not first
    assert answers.get(same) == fitted(one, shares(4))


def test_the_kind_asked_longest_ago_is_dropped() -> None:
    """The number of kinds is a bound."""
    table = FitTable(kinds=2)
    first, second = table.answers(shares(1), BINPACK), table.answers(shares(2), BINPACK)
    assert table.answers(shares(1), BINPACK) is first
    table.answers(shares(3), BINPACK)
    assert table.answers(shares(1), BINPACK) is first
    assert table.answers(shares(2), BINPACK) is not second


def test_at_least_one_kind() -> None:
    """A table that remembers nothing is a mistake."""
    with pytest.raises(ValueError, match="kinds is 0, expected at least 1"):
        FitTable(kinds=0)
