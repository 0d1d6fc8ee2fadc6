"""Which claims a pod has, and for which node a claim's volume is being made."""

import pytest

from extender.decoding.volumes import SELECTED_NODE, awaited_on, claims_of
from extender.kube.objects import DecodeError
from tests.extender.objects import Json, pod, raw

VOLUMES = [
    {"name": "token", "projected": {"sources": []}},
    {"name": "data", "persistentVolumeClaim": {"claimName": "models"}},
    {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}},
    {"name": "cache", "emptyDir": {}},
]


def claim(phase: str, **annotations: str) -> Json:
    """A PersistentVolumeClaim."""
    return {"metadata": {"name": "models", "annotations": annotations}, "spec": {}, "status": {"phase": phase}}


def test_the_claims_of_a_pod_are_those_it_names_and_those_made_for_it() -> None:
    """A generic ephemeral volume has a claim named after the pod and itself."""
    assert claims_of(raw(pod("train", volumes=VOLUMES)), "uid-train") == ["models", "train-scratch"]
    assert claims_of(raw(pod("train")), "uid-train") == []


def test_a_namesake_has_no_claims_of_the_pod() -> None:
    """It was created again under the same name."""
    assert claims_of(raw(pod("train", volumes=VOLUMES)), "uid-before") == []


@pytest.mark.parametrize(
    ("body", "node"),
    [
        (claim("Pending", **{SELECTED_NODE: "a"}), "a"),
        (claim("Bound", **{SELECTED_NODE: "a"}), ""),
        (claim("Pending"), ""),
        ({"metadata": {"name": "models", "annotations": {SELECTED_NODE: "a"}}}, "a"),
        ({"metadata": {"name": "models"}}, ""),
    ],
)
def test_a_volume_is_awaited_until_its_claim_is_bound(body: Json, node: str) -> None:
    """kube-scheduler writes the node on the claim; a provisioner that fails takes it away again."""
    assert awaited_on(raw(body)) == node


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"metadata": 1}'])
def test_what_is_no_object_is_an_error(body: bytes) -> None:
    """Not a silent none."""
    with pytest.raises(DecodeError):
        claims_of(body, "uid")
    with pytest.raises(DecodeError):
        awaited_on(body)
