"""Selector texts select what Kubernetes would select."""

import pytest

from bench.simulated.apiserver.objects.resources import NODES, PODS
from bench.simulated.apiserver.objects.selectors import parse_selector
from bench.simulated.apiserver.objects.statuses import StatusError


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("spec.nodeName=n1", True),
        ("spec.nodeName==n1,status.phase!=Failed", True),
        ("spec.nodeName=", False),
        ("spec.nodeName!=n1", False),
        ("metadata.name=a,spec.nodeName=n2", False),
    ],
)
def test_field_selectors(fields: str, *, expected: bool) -> None:
    """Equality and inequality, joined by commas."""
    selector = parse_selector(PODS, fields, "")
    entries = {"metadata.name": "a", "spec.nodeName": "n1", "status.phase": "Running"}
    assert selector.matches(entries, {}) is expected


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("app=web", True),
        ("app!=web", False),
        ("tier", False),
        ("!tier,app", True),
        ("app in (web, db),app notin (x)", True),
        ("app notin (web,db)", False),
        ("tier!=x", True),
    ],
)
def test_label_selectors(labels: str, *, expected: bool) -> None:
    """Equality, sets and presence; an absent label satisfies what is negated."""
    assert parse_selector(PODS, "", labels).matches({}, {"app": "web"}) is expected


@pytest.mark.parametrize(("fields", "labels"), [("spec.hostIP=1", ""), ("spec.nodeName", ""), ("", "a=b=c"), ("", ",")])
def test_what_does_not_parse_is_a_bad_request(fields: str, labels: str) -> None:
    """Unknown fields and broken texts get 400."""
    with pytest.raises(StatusError) as caught:
        parse_selector(PODS, fields, labels)
    assert caught.value.code == 400


def test_each_resource_has_its_own_fields() -> None:
    """Nodes have no nodeName."""
    with pytest.raises(StatusError):
        parse_selector(NODES, "spec.nodeName=n1", "")
