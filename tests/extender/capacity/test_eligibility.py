"""Nodes are passed over as kube-scheduler's plugins do it."""

import pytest

from extender.capacity.eligibility import (
    ANYWHERE,
    Constraints,
    HostMisfit,
    NodeTraits,
    SelectorTerm,
    Taint,
    Toleration,
    ineligible,
)
from extender.contract.expressions import Expression

NODE = NodeTraits("n1", {"zone": "a", "gpus": "8"})


def test_a_pod_without_wishes_goes_anywhere() -> None:
    """But to a cordoned or tainted node."""
    assert ineligible(ANYWHERE, NODE) is None
    assert ineligible(ANYWHERE, NodeTraits("n1", unschedulable=True)) is HostMisfit.UNSCHEDULABLE
    assert ineligible(ANYWHERE, NodeTraits("n1", taints=(Taint("gpu"),))) is HostMisfit.TAINT
    assert ineligible(ANYWHERE, NodeTraits("n1", taints=(Taint("gpu", effect="PreferNoSchedule"),))) is None


@pytest.mark.parametrize(
    ("toleration", "borne"),
    [
        (Toleration("gpu", "Exists"), True),
        (Toleration("gpu", "Equal", "yes"), True),
        (Toleration("gpu", "Equal", "no"), False),
        (Toleration("gpu", "Equal", "yes", "NoExecute"), False),
        (Toleration("gpu", "Equal", "yes", "NoSchedule"), True),
        (Toleration("", "Exists"), True),
        (Toleration("", "Equal", "yes"), False),
        (Toleration("other", "Exists"), False),
    ],
)
def test_tolerations_bear_the_taints_that_they_name(toleration: Toleration, *, borne: bool) -> None:
    """By key, value and effect."""
    assert toleration.tolerates(Taint("gpu", "yes", "NoSchedule")) is borne


def test_tolerations_may_compare_numbers() -> None:
    """A taint's value below or above the toleration's."""
    taint = Taint("failures", "3")
    borne = [Toleration("failures", operator, value).tolerates(taint) for operator, value in (("Lt", "5"), ("Gt", "5"))]
    assert (borne, Toleration("failures", "Lt", "many").tolerates(taint)) == ([True, False], False)


def test_who_tolerates_everything_goes_to_a_cordoned_node() -> None:
    """As a DaemonSet's pods do."""
    bearing = Constraints(tolerations=(Toleration("", "Exists"),))
    assert ineligible(bearing, NodeTraits("n1", taints=(Taint("a"), Taint("b")), unschedulable=True)) is None


def test_the_node_selector_wants_every_label() -> None:
    """With its value."""
    assert ineligible(Constraints((("zone", "a"),)), NODE) is None
    assert ineligible(Constraints((("zone", "a"), ("disk", "ssd"))), NODE) is HostMisfit.SELECTOR


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        (Expression("zone", "In", ("a", "b")), True),
        (Expression("zone", "NotIn", ("a",)), False),
        (Expression("disk", "NotIn", ("ssd",)), True),
        (Expression("disk", "Exists"), False),
        (Expression("disk", "DoesNotExist"), True),
        (Expression("gpus", "Gt", ("4",)), True),
        (Expression("gpus", "Lt", ("8",)), False),
        (Expression("zone", "Gt", ("4",)), False),
        (Expression("disk", "Lt", ("4",)), False),
        (Expression("gpus", "Gt", ("4", "5")), False),
        (Expression("zone", "Matches", ("a",)), False),
    ],
)
def test_expressions_are_those_of_the_api(expression: Expression, *, holds: bool) -> None:
    """An absent label meets a negated requirement; an operator that is none never holds."""
    constraints = Constraints(terms=(SelectorTerm((expression,)),))
    assert (ineligible(constraints, NODE) is None) is holds


def test_one_term_is_enough_and_an_empty_one_matches_nothing() -> None:
    """A term may name the node itself."""
    this = SelectorTerm(fields=(Expression("metadata.name", "In", ("n1",)),))
    other = SelectorTerm(fields=(Expression("metadata.name", "In", ("n2",)),))
    assert ineligible(Constraints(terms=(other, this)), NODE) is None
    assert ineligible(Constraints(terms=(other,)), NODE) is HostMisfit.SELECTOR
    assert ineligible(Constraints(terms=(SelectorTerm(),)), NODE) is HostMisfit.SELECTOR
    assert ineligible(Constraints(terms=()), NODE) is HostMisfit.SELECTOR
