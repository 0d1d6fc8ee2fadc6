"""PodDisruptionBudgets become what preemption counts with."""

from typing import Any

import pytest

from extender.decoding.budgets import decode_budget
from extender.kube.objects import DecodeError
from extender.scheduling.preempting.budgets import Protection
from tests.extender.cluster import Cluster
from tests.extender.objects import Json, allocation, pod, raw, uuid

WEB = {"app": "web"}


def budget(selector: Json | None, **status: Any) -> Json:
    """As the API server sends it."""
    spec = {} if selector is None else {"selector": selector}
    metadata = {"name": "pdb", "namespace": "default", "uid": "uid-pdb", "resourceVersion": "1"}
    return {"metadata": metadata, "spec": {"minAvailable": 1, **spec}, "status": status}


def protects(selector: Json | None, labels: Json, name: str = "p", **status: Any) -> bool:
    """Whether evicting a pod with these labels takes from it."""
    plan = {"allocation": allocation({"main": {uuid("a", 0): 4}})}
    body = pod(name, 4, node="a", annotations=plan)
    body["metadata"]["labels"] = labels
    record = Cluster().record(body)
    return Protection([decode_budget(raw(budget(selector, **status)))]).of(record) == (0,)


def test_what_it_allows_and_has_counted_comes_from_its_status() -> None:
    """Of one that no controller has looked at nothing is allowed."""
    read = decode_budget(raw(budget({}, disruptionsAllowed=2, disruptedPods={"p": "2026-01-01T00:00:00Z"})))
    assert (read.uid, read.namespace, read.allows, read.disrupted) == ("uid-pdb", "default", 2, frozenset({"p"}))
    assert decode_budget(raw({key: value for key, value in budget({}).items() if key != "status"})).allows == 0


@pytest.mark.parametrize(
    ("selector", "protected"),
    [
        ({"matchLabels": {"app": "web"}}, True),
        ({"matchLabels": {"app": "db"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["db", "web"]}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}, True),
        ({"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "tier", "operator": "Exists"}]}, False),
        ({}, True),
        (None, False),
    ],
)
def test_a_selector_protects_whom_it_selects(selector: Json | None, *, protected: bool) -> None:
    """An empty one everybody, none at all nobody (policy/v1)."""
    assert protects(selector, WEB) is protected


def test_a_pod_that_is_counted_already_takes_no_more() -> None:
    """The API server has evicted it."""
    assert not protects({}, WEB, disruptedPods={"p": "2026-01-01T00:00:00Z"})


def test_labels_are_kept_of_bound_pods_with_gpus_alone() -> None:
    """Once for all pods that have the same ones."""
    cluster = Cluster()

    def labels(name: str, units: int | None, node: str) -> bytes:
        body = pod(name, units, node=node)
        body["metadata"]["labels"] = WEB
        return cluster.record(body).labels

    assert [labels("a", 4, "n"), labels("b", None, "n"), labels("c", 4, "")] == [b'{"app": "web"}', b"", b""]
    assert labels("d", 4, "n") is labels("e", 4, "n")


def test_what_is_no_budget_is_said() -> None:
    """The reflector leaves it out."""
    with pytest.raises(DecodeError):
        decode_budget(b'{"metadata": []}')
