"""A pod that prefers some nodes to others is told from one that does not, in every form of the API."""

from typing import Any

import pytest

from extender.contract.names import Names
from extender.decoding.decoder import Decoder
from extender.kube.objects import DecodeError
from tests.extender.objects import UNIT_MIB, pod, raw

PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
EXPRESSION = {"key": "zone", "operator": "In", "values": ["a"]}
ON_NODES = {"weight": 1, "preference": {"matchExpressions": [EXPRESSION]}}
NEAR_PODS = {"weight": 1, "podAffinityTerm": {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "a"}}}}
SOFT = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
HARD = {**SOFT, "whenUnsatisfiable": "DoNotSchedule"}
SELECTOR = {"nodeSelectorTerms": [{"matchExpressions": [EXPRESSION]}]}


def prefers(node: str = "", **spec: Any) -> bool:
    """What the record of such a pod says."""
    return Decoder(Names(), UNIT_MIB).pod(raw(pod("train", 8, node=node, **spec))).prefers


@pytest.mark.parametrize(
    "spec",
    [
        {"affinity": {"nodeAffinity": {PREFERRED: [ON_NODES]}}},
        {"affinity": {"podAffinity": {PREFERRED: [NEAR_PODS]}}},
        {"affinity": {"podAntiAffinity": {PREFERRED: [NEAR_PODS]}, "podAffinity": None}},
        {"affinity": {"nodeAffinity": {REQUIRED: SELECTOR, PREFERRED: [ON_NODES]}}},
        {"topologySpreadConstraints": [SOFT]},
        {"topologySpreadConstraints": [HARD, SOFT], "affinity": None},
    ],
)
def test_what_kube_scheduler_would_score_is_a_preference(spec: dict[str, Any]) -> None:
    """Also beside what is required."""
    assert prefers(**spec)


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"affinity": None, "topologySpreadConstraints": None},
        {"affinity": {}, "topologySpreadConstraints": []},
        {"affinity": {"nodeAffinity": {REQUIRED: SELECTOR}}},
        {"affinity": {"nodeAffinity": {PREFERRED: []}, "podAffinity": {PREFERRED: None}, "podAntiAffinity": {}}},
        {"topologySpreadConstraints": [HARD]},
        {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone"}]},
    ],
)
def test_what_is_required_or_empty_is_no_preference(spec: dict[str, Any]) -> None:
    """Whether a field is absent, null or empty."""
    assert not prefers(**spec)


def test_a_bound_pod_has_no_more_use_for_one() -> None:
    """Nor is its spec looked into."""
    assert not prefers(node="node-a", topologySpreadConstraints=[SOFT])


@pytest.mark.parametrize("spec", [{"affinity": []}, {"topologySpreadConstraints": [{"whenUnsatisfiable": 1}]}])
def test_a_field_of_another_form_than_the_api_s_is_named(spec: dict[str, Any]) -> None:
    """As everywhere else in a pod."""
    with pytest.raises(DecodeError, match=r"^Pod: Expected"):
        prefers(**spec)
