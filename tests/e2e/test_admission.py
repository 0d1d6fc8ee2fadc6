"""What the shipped admission policies let through and refuse on a real API server, in the words that users read."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bench.simulated.client import STRATEGIC_PATCH, FailureStatusError
from bench.simulated.waiting import wait_until
from tests.e2e.admissioncases import (
    ALLOCATED,
    BYPASSING,
    CORE,
    COUNT,
    LET_THROUGH,
    MEM,
    MISSPELT,
    MODEL,
    NAMESPACE,
    PODS,
    REFUSED,
    ZERO,
    asking,
    bypassing,
    refusal,
    said,
)
from tests.e2e.api import Api, Json
from tests.e2e.controlplane import ControlPlane

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

BASE = Path(__file__).parents[2] / "manifests" / "base"
NOT_DIVIDED = REFUSED["memory not divided"]
PLURAL = MISSPELT["plural"]
POLICIES_PATH = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"


@pytest.fixture(scope="module")
def api(control_plane: ControlPlane) -> Api:
    """The API as an admin, with gpupack's policies in force, and a namespace."""
    control_plane.apply(BASE)
    control_plane.api.create_namespace(NAMESPACE)
    for policy, (body, _sentence) in {"requests": NOT_DIVIDED, "names": PLURAL}.items():
        wait_until(partial(refusal, control_plane.api, body), what=f"gpupack-{policy} to be in force")
    return control_plane.api


def test_the_policies_have_no_mistakes_of_type(api: Api) -> None:
    """The API server checks each expression against every kind that it is for."""

    def checked() -> dict[str, Any] | None:
        policies = api.get(POLICIES_PATH)["items"]
        found = {each["metadata"]["name"]: each.get("status", {}).get("typeChecking") for each in policies}
        return None if None in found.values() else found

    names = ("agents", "allocations", "names", "requests")
    expected: dict[str, Any] = {f"gpupack-{name}": {} for name in names}
    assert wait_until(checked, what="the types to be checked") == expected


@pytest.mark.parametrize("case", [*REFUSED, *BYPASSING, *MISSPELT])
def test_nonsense_is_refused_with_the_reason(api: Api, case: str) -> None:
    """Names the container or annotation, the value, and what was expected."""
    body, sentence = {**REFUSED, **BYPASSING, **MISSPELT}[case]
    assert refusal(api, body) == sentence


@pytest.mark.parametrize("case", LET_THROUGH)
def test_what_makes_sense_is_let_through(api: Api, case: str) -> None:
    """And pods without GPUs are none of the policies' business."""
    assert refusal(api, LET_THROUGH[case]) == ""


def template(annotations: Mapping[str, str]) -> Json:
    """A pod template with 7 units over the GPUs that the annotations say."""
    found = asking({MEM: 7}, annotations)
    return {
        "metadata": {"labels": {"app": "asks"}, "annotations": found["metadata"]["annotations"]},
        "spec": {**found["spec"], "restartPolicy": "Always"},
    }


def workload(kind: str, template: Mapping[str, Any]) -> Json:
    """An object of the kind that makes pods of the template."""
    spec: Json = {"template": template}
    if kind in {"Job", "CronJob"}:
        spec["template"] = {**template, "spec": {**template["spec"], "restartPolicy": "Never"}}
    elif kind == "ReplicationController":
        spec["selector"] = {"app": "asks"}
    else:
        spec["selector"] = {"matchLabels": {"app": "asks"}}
    if kind == "StatefulSet":
        spec["serviceName"] = "asks"
    if kind == "CronJob":
        spec = {"schedule": "* * * * *", "jobTemplate": {"spec": spec}}
    return {"metadata": {"name": "asks"}, "spec": spec}


WORKLOADS = {
    "Deployment": "apis/apps/v1",
    "ReplicaSet": "apis/apps/v1",
    "StatefulSet": "apis/apps/v1",
    "DaemonSet": "apis/apps/v1",
    "Job": "apis/batch/v1",
    "CronJob": "apis/batch/v1",
    "ReplicationController": "api/v1",
}


def collection(kind: str) -> str:
    """Where objects of the kind are created."""
    return f"/{WORKLOADS[kind]}/namespaces/{NAMESPACE}/{kind.lower()}s"


@pytest.mark.parametrize("kind", WORKLOADS)
def test_a_template_is_refused_when_it_is_applied(api: Api, kind: str) -> None:
    """Not as pods that never come, which nobody looks for."""
    refused = workload(kind, template({COUNT: "2"}))
    assert refusal(api, refused, collection(kind)) == NOT_DIVIDED[1]
    assert refusal(api, workload(kind, template({COUNT: "7"})), collection(kind)) == ""


@pytest.mark.parametrize("limits", [{MEM: 0}, {MEM: 1, CORE: 0}], ids=["zero", "zero of two"])
def test_a_template_does_not_ask_for_0(api: Api, limits: Json) -> None:
    """A person wrote that; in a pod it may come from a LimitRange."""
    found = asking(limits)
    body = workload("Deployment", {"metadata": {"labels": {"app": "asks"}}, "spec": found["spec"]})
    body["spec"]["template"]["spec"]["restartPolicy"] = "Always"
    assert refusal(api, body, collection("Deployment")) == ZERO


def test_a_template_does_not_say_on_which_gpus_its_pods_are(api: Api) -> None:
    """Not even an admin's: all of its pods would claim the same GPUs."""
    assert refusal(api, workload("Deployment", template({ALLOCATED: "{}"})), collection("Deployment")) == (
        "annotations gpupack.io/allocation and gpupack.io/allocated say which GPUs a single pod is on; a pod template "
        "must not have them"
    )


@pytest.mark.parametrize("kind", WORKLOADS)
def test_a_misspelt_name_in_a_template_is_refused_when_it_is_applied(api: Api, kind: str) -> None:
    """Where a person reads it."""
    assert (
        refusal(api, workload(kind, template({COUNT: "7", "gpupack.io/gpu-models": "A100*"})), collection(kind))
        == (PLURAL[1])
    )


def test_what_was_there_before_the_policy_can_be_changed_and_deleted(control_plane: ControlPlane, api: Api) -> None:
    """Only the change that is nonsense itself is refused: a finalizer must always go, a Deployment always scale."""
    binding = BASE / "admission-requests.yaml"
    control_plane.kubectl("delete", "validatingadmissionpolicybinding", "gpupack-requests")
    old, deployment = asking({MEM: 7}, {COUNT: "2"}), workload("Deployment", template({COUNT: "2"}))
    wait_until(lambda: not refusal(api, old), what="gpupack-requests to be out of force")
    api.create_pod(NAMESPACE, {**old, "metadata": {**old["metadata"], "name": "old"}})
    api.create(collection("Deployment"), {**deployment, "metadata": {"name": "old"}})
    control_plane.apply(binding)
    wait_until(lambda: refusal(api, old), what="gpupack-requests to be in force again")
    api.patch(f"{PODS}/old", {"metadata": {"labels": {"seen": "yes"}}})
    api.patch(f"{collection('Deployment')}/old", {"spec": {"replicas": 0}})
    with pytest.raises(FailureStatusError) as refused:
        api.patch(f"{PODS}/old", {"metadata": {"annotations": {COUNT: "3"}}})
    assert said(refused.value) == "container main: gpupack.io/gpu-mem 7 is not divisible by gpupack.io/gpu-count 3"
    api.delete(f"{collection('Deployment')}/old")
    api.delete_pod(NAMESPACE, "old", grace_period_s=0)


def test_a_misspelt_name_that_was_there_before_the_policy_harms_nobody(control_plane: ControlPlane, api: Api) -> None:
    """Others write to the pod as before, gpupack itself among them; a name that is added is looked at."""
    control_plane.kubectl("delete", "validatingadmissionpolicybinding", "gpupack-names")
    wait_until(lambda: not refusal(api, PLURAL[0]), what="gpupack-names to be out of force")
    old = {"gpupack.io/gpu-models": "A100*"}
    labels = {"gpupack.io/gpu-model": "A100"}
    misspelt = {
        **asking({MEM: 7, "gpupack.io/gpumem": 7}),
        "metadata": {"name": "old", "annotations": old, "labels": labels},
    }
    api.create_pod(NAMESPACE, misspelt)
    control_plane.apply(BASE / "admission-names.yaml")
    wait_until(lambda: refusal(api, PLURAL[0]), what="gpupack-names to be in force again")
    extender = control_plane.api_as("gpupack-system", "gpupack-scheduler")
    extender.patch(f"{PODS}/old", {"metadata": {"annotations": {"gpupack.io/retry": "1"}}})
    extender.close()
    api.patch(f"{PODS}/old", {"metadata": {"labels": {"seen": "yes"}, "annotations": {MODEL: "A100*"}}})
    with pytest.raises(FailureStatusError) as refused:
        api.patch(f"{PODS}/old", {"metadata": {"annotations": {"gpupack.io/gpu_count": "2"}}})
    assert said(refused.value) == MISSPELT["underscore"][1]
    with pytest.raises(FailureStatusError) as refused:
        api.patch(f"{PODS}/old", {"metadata": {"labels": {MEM: "8"}}})
    assert said(refused.value) == MISSPELT["a resource as a label"][1]
    api.delete_pod(NAMESPACE, "old", grace_period_s=0)


@pytest.mark.parametrize("kind", WORKLOADS)
def test_an_annotation_of_pods_on_a_workload_itself_is_refused(api: Api, kind: str) -> None:
    """It has no effect there; beside the same one in the template, as kustomize writes them, it does no harm."""
    body = workload(kind, template({COUNT: "7"}))
    path = "spec.jobTemplate.spec.template" if kind == "CronJob" else "spec.template"
    model = {**body, "metadata": {**body["metadata"], "annotations": {MODEL: "A100*"}}}
    assert refusal(api, model, collection(kind)) == (
        f"annotation {MODEL} of the {kind} itself has no effect; write it into its pod template, "
        f"{path}.metadata.annotations"
    )
    both = {**body, "metadata": {**body["metadata"], "annotations": {COUNT: "7", "team": "a"}}}
    assert refusal(api, both, collection(kind)) == ""


def test_what_controllers_make_and_write_is_not_looked_at(control_plane: ControlPlane, api: Api) -> None:
    """A Deployment from before the policy gets its ReplicaSets, with copies of its annotations, and its revision."""
    control_plane.kubectl("delete", "validatingadmissionpolicybinding", "gpupack-names")
    wait_until(lambda: not refusal(api, PLURAL[0]), what="gpupack-names to be out of force")
    body = workload("Deployment", template({COUNT: "7"}))
    body["metadata"] = {"name": "old", "annotations": {MODEL: "A100*"}}
    api.create(collection("Deployment"), body)
    control_plane.apply(BASE / "admission-names.yaml")
    wait_until(lambda: refusal(api, PLURAL[0]), what="gpupack-names to be in force again")
    old = f"{collection('Deployment')}/old"
    changed = api.patch(old, {"spec": {"template": {"metadata": {"annotations": {"version": "2"}}}}})
    wait_until(
        lambda: api.get(old)["status"].get("observedGeneration") == changed["metadata"]["generation"],
        what="the controller to have made the new ReplicaSet",
    )
    made = api.get(collection("ReplicaSet"), labelSelector="app=asks")["items"]
    assert [each["metadata"]["annotations"][MODEL] for each in made] == ["A100*", "A100*"]
    assert api.get(old)["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"
    with pytest.raises(FailureStatusError) as refused:
        api.patch(old, {"metadata": {"annotations": {"gpupack.io/policy": "spread"}}})
    assert said(refused.value).startswith("annotation gpupack.io/policy of the Deployment itself has no effect")
    api.delete(old)


def test_of_several_misspelt_names_one_is_named_always_the_same(api: Api) -> None:
    """The first by name, so that applying twice says the same twice."""
    several = asking({MEM: 8}, {f"gpupack.io/{name}": "2" for name in ("policys", "gpu-models", "colour", "gpu_count")})
    said_of_it = {refusal(api, several) for _ in range(5)}
    assert said_of_it == {MISSPELT["not a name at all"][1]}


def test_a_debug_container_gets_no_gpus_by_variable(api: Api) -> None:
    """`kubectl debug` adds containers to a pod that runs."""
    api.create_pod(NAMESPACE, {**asking({MEM: 8}), "metadata": {"name": "debugged"}})
    debugger = {"name": "debugger", "image": "busybox", "env": [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]}
    path = f"{PODS}/debugged/ephemeralcontainers"
    body = {"spec": {"ephemeralContainers": [debugger]}}
    with pytest.raises(FailureStatusError) as refused:
        api.patch(path, body, STRATEGIC_PATCH)
    assert said(refused.value) == bypassing("debugger", "NVIDIA_VISIBLE_DEVICES")
    plain = {"spec": {"ephemeralContainers": [{"name": "debugger", "image": "busybox"}]}}
    api.patch(path, plain, STRATEGIC_PATCH)
    api.delete_pod(NAMESPACE, "debugged", grace_period_s=0)
