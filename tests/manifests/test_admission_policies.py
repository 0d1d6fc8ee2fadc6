"""The admission policies follow the extender's own rules: the same names, the same verdict on the same pods."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from extender.contract.misspellings import misspelt_on_pod
from extender.contract.names import Names
from extender.contract.units import DEFAULT_UNIT_MIB
from extender.decoding.decoder import Decoder
from extender.scheduling.policies.table import POLICIES
from tests.e2e.admissioncases import BYPASSING, LET_THROUGH, MISSPELT, REFUSED
from tests.e2e.api import Json

BASE = Path(__file__).parents[2] / "manifests" / "base"


def request_error(body: dict[str, Any]) -> str:
    """The extender's own error for the pod, if it were created."""
    metadata = {**body["metadata"], "namespace": "team-a", "uid": "1", "resourceVersion": "1"}
    decoder = Decoder(Names(), DEFAULT_UNIT_MIB)
    return decoder.pod(json.dumps({**body, "metadata": metadata}).encode()).request_error


def misspelt(body: Json) -> list[str]:
    """What kubectl gpupack would say of names on the pod, had it been created."""
    metadata, spec = body["metadata"], body["spec"]
    resources = {
        each["name"]: [*each["resources"].get("limits", {}), *each["resources"].get("requests", {})]
        for each in (*spec.get("initContainers", ()), *spec["containers"])
    }
    annotations, labels = metadata.get("annotations", {}), metadata.get("labels", {})
    return misspelt_on_pod(Names(), annotations=annotations, labels=labels, resources=resources)


def test_the_packing_policies_are_those_of_the_extender() -> None:
    """Otherwise pods could not ask for a policy that was added to one of the lists only."""
    policy, _binding = yaml.safe_load_all((BASE / "admission-requests.yaml").read_text(encoding="utf-8"))
    (variable,) = [each for each in policy["spec"]["variables"] if each["name"] == "policies"]
    assert json.loads(variable["expression"].replace("'", '"')) == list(POLICIES)


def test_the_extender_refuses_what_the_api_server_refuses() -> None:
    """A pod that gets past the API server is still refused."""
    assert {case for case, (body, _) in REFUSED.items() if not request_error(body)} == set()


def test_the_extender_takes_what_the_api_server_lets_through() -> None:
    """No admitted pod waits for ever because of its request."""
    assert {case: error for case, body in LET_THROUGH.items() if (error := request_error(body))} == {}


@pytest.mark.parametrize("case", MISSPELT)
def test_kubectl_says_of_a_misspelt_name_what_the_api_server_says(case: str) -> None:
    """Word for word, of pods that got past it."""
    body, sentence = MISSPELT[case]
    assert misspelt(body) == [sentence]


def test_no_other_case_has_a_misspelt_name() -> None:
    """Otherwise the test of another rule would not be about that rule."""
    bodies = [*LET_THROUGH.values(), *(body for body, _ in (*REFUSED.values(), *BYPASSING.values()))]
    assert [body for body in bodies if misspelt(body)] == []


def test_the_names_are_those_of_the_contract() -> None:
    """A name that is added there has to be let through here."""
    policy, _binding = yaml.safe_load_all((BASE / "admission-names.yaml").read_text(encoding="utf-8"))
    variables = {each["name"]: each["expression"] for each in policy["spec"]["variables"]}
    names = Names()
    assert json.loads(variables["knownAnnotations"].replace("'", '"')) == [
        *names.pod_annotations,
        *names.written_annotations,
    ]
    assert json.loads(variables["knownResources"].replace("'", '"')) == [*names.resources]
