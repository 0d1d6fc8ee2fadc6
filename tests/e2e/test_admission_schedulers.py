"""What becomes of pods that ask for GPUs under a scheduler that does not ask gpupack, on a real API server."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from bench.simulated.waiting import wait_until
from tests.e2e.admissioncases import CORE, GPU, MEM, NAMESPACE, PODS, asking, refusal
from tests.e2e.api import Api, Json
from tests.e2e.controlplane import ControlPlane
from tests.e2e.installation import MANIFESTS, SYSTEM, rendered
from tests.e2e.podspecs import container, pod
from tests.e2e.test_admission import WORKLOADS, collection, workload

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SECOND = MANIFESTS / "overlays" / "second-scheduler"
CHECK = SECOND / "admission-scheduler-name.yaml"
NAME = "gpupack-scheduler-name"
SHARE = asking({MEM: 8})


def said_to(what: str, container_name: str = "main") -> str:
    """What is said of a pod or pod template."""
    return (
        f"container {container_name}: asks for gpupack.io resources, whose GPUs only gpupack-scheduler can choose; "
        f"write schedulerName: gpupack-scheduler into the spec of the {what}"
    )


def under(scheduler: str, body: Json = SHARE) -> Json:
    """The pod under another scheduler."""
    return {**body, "spec": {**body["spec"], "schedulerName": scheduler}}


def template(**spec: Any) -> Json:
    """A pod template that asks for GPU memory."""
    return {"metadata": {"labels": {"app": "asks"}}, "spec": {**SHARE["spec"], "restartPolicy": "Always", **spec}}


@pytest.fixture(scope="module")
def plane(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """A control plane with the namespaces of a team and of gpupack, and none of the policies."""
    control_plane.apply(MANIFESTS / "base" / "namespace.yaml")
    control_plane.api.create_namespace(NAMESPACE)
    yield control_plane
    control_plane.api.delete(f"/api/v1/namespaces/{SYSTEM}")


@pytest.fixture(scope="module")
def api(plane: ControlPlane) -> Api:
    """The API with the check of the second-scheduler overlay in force."""
    plane.apply(CHECK)
    wait_until(lambda: refusal(plane.api, SHARE), what=f"{NAME} to be in force")
    return plane.api


@pytest.mark.parametrize("limits", [{MEM: 8}, {GPU: 1}, {MEM: 8, CORE: 50}], ids=["share", "whole", "compute"])
def test_a_pod_that_asks_for_gpus_and_chooses_no_scheduler_is_refused(api: Api, limits: Json) -> None:
    """With what to write."""
    assert refusal(api, asking(limits)) == said_to("pod")
    first = pod("asks", init_containers=(container("first", limits),))
    assert refusal(api, first) == said_to("pod", "first")


@pytest.mark.parametrize(
    "body",
    [
        pod("asks"),
        asking({MEM: 0}),
        under("gpupack-scheduler"),
        under("volcano"),
        {**SHARE, "spec": {**SHARE["spec"], "nodeName": "node"}},
    ],
    ids=["no GPU", "a LimitRange's 0", "gpupack's", "another on purpose", "no scheduler at all"],
)
def test_any_other_pod_is_let_through(api: Api, body: Json) -> None:
    """Whoever names another scheduler has chosen it; a pod that is created with a node is not scheduled."""
    assert refusal(api, body) == ""


@pytest.mark.parametrize("kind", WORKLOADS)
def test_a_template_is_refused_when_it_is_applied(api: Api, kind: str) -> None:
    """Where a person reads it."""
    assert refusal(api, workload(kind, template()), collection(kind)) == said_to("pod template")
    assert refusal(api, workload(kind, template(schedulerName="gpupack-scheduler")), collection(kind)) == ""


def test_what_was_there_before_can_be_changed_and_deleted(plane: ControlPlane, api: Api) -> None:
    """A Deployment can be scaled to nothing, a pod labelled, and both removed."""
    plane.kubectl("delete", "validatingadmissionpolicybinding", NAME)
    wait_until(lambda: not refusal(api, SHARE), what=f"{NAME} to be out of force")
    api.create_pod(NAMESPACE, {**SHARE, "metadata": {"name": "old"}})
    api.create(collection("Deployment"), {**workload("Deployment", template()), "metadata": {"name": "old"}})
    plane.apply(CHECK)
    wait_until(lambda: refusal(api, SHARE), what=f"{NAME} to be in force again")
    api.patch(f"{PODS}/old", {"metadata": {"labels": {"seen": "yes"}}})
    api.patch(f"{collection('Deployment')}/old", {"spec": {"replicas": 0}})
    api.delete(f"{collection('Deployment')}/old")
    api.delete_pod(NAMESPACE, "old", grace_period_s=0)


def scheduler_of(api: Api, body: Json) -> str:
    """Of the pod that would be created."""
    found: str = api.create(f"{PODS}?dryRun=All", body)["spec"]["schedulerName"]
    return found


def test_with_the_component_the_name_is_set_instead(plane: ControlPlane, api: Api) -> None:
    """Of pods only, and of those that the check refuses; templates stay as they are written."""
    folder = MANIFESTS / "components" / "set-scheduler-name"
    plane.kubectl("delete", "--filename", str(CHECK))
    wait_until(lambda: not refusal(api, SHARE), what=f"{NAME} to be out of force")
    plane.apply(folder / "admission.yaml")
    wait_until(lambda: scheduler_of(api, SHARE) == "gpupack-scheduler", what="the name to be set")
    assert scheduler_of(api, asking({GPU: 1})) == "gpupack-scheduler"
    assert scheduler_of(api, asking({MEM: 0})) == "default-scheduler"
    assert scheduler_of(api, pod("asks")) == "default-scheduler"
    assert scheduler_of(api, under("volcano")) == "volcano"
    deployment = api.create(f"{collection('Deployment')}?dryRun=All", workload("Deployment", template()))
    assert deployment["spec"]["template"]["spec"]["schedulerName"] == "default-scheduler"
    plane.kubectl("delete", "--filename", str(folder / "admission.yaml"))


def test_the_component_takes_the_check_away(plane: ControlPlane) -> None:
    """Otherwise templates would be refused whose pods are given the right name."""

    def policies(component: str = "") -> set[tuple[str, str]]:
        folder = plane.folder / f"with-{component or 'nothing'}"
        folder.mkdir()
        up = "/".join(".." for _ in folder.parts[1:])
        relative = f"{up}{MANIFESTS}"
        components = [f"{relative}/components/{component}"] if component else []
        written = {"resources": [f"{relative}/overlays/second-scheduler"], "components": components}
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")
        found = {(each["kind"], each["metadata"]["name"]) for each in rendered(plane, folder)}
        return {each for each in found if each[1] == NAME}

    kinds = ("AdmissionPolicy", "AdmissionPolicyBinding")
    assert policies() == {(f"Validating{kind}", NAME) for kind in kinds}
    assert policies("set-scheduler-name") == {(f"Mutating{kind}", NAME) for kind in kinds}
