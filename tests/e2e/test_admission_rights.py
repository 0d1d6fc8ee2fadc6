"""Who may write on which GPUs a pod is, and what gpupack's own programs may write, on a real API server."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bench.simulated.client import ApiAccess, FailureStatusError, write_kubeconfig
from bench.simulated.waiting import wait_until
from device_plugin.pods.decoding import decode_node
from device_plugin.reporting.startup_taints import StartupTaints
from extender.contract.names import Names
from extender.kube.client import connect
from tests.e2e.admissioncases import ALLOCATED, ALLOCATION, CORE, GPU, MEM, NAMESPACE, PODS, asking, refusal, said
from tests.e2e.api import Api
from tests.e2e.controlplane import ControlPlane
from tests.e2e.nodes import SimulatedNode, create_node, set_resources
from tests.e2e.podspecs import container, pod

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

BASE = Path(__file__).parents[2] / "manifests" / "base"
TENANT = f"system:serviceaccount:{NAMESPACE}:default"
ACCOUNTS = "system:serviceaccount:gpupack-system:gpupack-"
OURS = (
    "annotations gpupack.io/allocation and gpupack.io/allocated say which GPUs a pod is on; "
    "only gpupack may write them, not "
)
OWN = "may change only gpupack.io annotations, and a device plugin may remove startup taints"


@pytest.fixture(scope="module")
def api(control_plane: ControlPlane) -> Api:
    """The API as an admin, with gpupack's policies in force, and a namespace of a tenant who may edit it."""
    control_plane.apply(BASE)
    control_plane.api.create_namespace(NAMESPACE)
    # What the role "edit" is made of; the controller that makes it is left out.
    edits = ("create", "rolebinding", "edits", f"--namespace={NAMESPACE}", "--clusterrole=system:aggregate-to-edit")
    control_plane.kubectl(*edits, f"--serviceaccount={NAMESPACE}:default")
    control_plane.api.wait_allowed(TENANT, "create", "pods", NAMESPACE)
    tenant = control_plane.api_as(NAMESPACE, "default")
    wait_until(lambda: refusal(tenant, asking({MEM: 7}, {ALLOCATION: "{}"})), what="gpupack-allocations to be in force")
    tenant.close()
    return control_plane.api


@pytest.fixture
def tenant(control_plane: ControlPlane, api: Api) -> Iterator[Api]:
    """The API as somebody who may edit everything in the namespace, and nothing else."""
    assert api.exists(f"/api/v1/namespaces/{NAMESPACE}")
    acting = control_plane.api_as(NAMESPACE, "default")
    yield acting
    acting.close()


@pytest.mark.parametrize("annotation", [ALLOCATION, ALLOCATED])
def test_a_tenant_does_not_say_on_which_gpus_a_pod_is(api: Api, tenant: Api, annotation: str) -> None:
    """Neither in a new pod nor in one that is there, and removing is writing too."""
    sentence = f"{OURS}{TENANT}"
    assert refusal(tenant, asking({MEM: 8}, {annotation: "{}"})) == sentence
    name = annotation.rpartition("/")[2]
    api.create_pod(NAMESPACE, {**asking({MEM: 8}), "metadata": {"name": name}})
    with pytest.raises(FailureStatusError) as refused:
        tenant.patch(f"{PODS}/{name}", {"metadata": {"annotations": {annotation: "{}"}}})
    assert said(refused.value) == sentence
    api.patch(f"{PODS}/{name}", {"metadata": {"annotations": {annotation: "{}"}}})
    with pytest.raises(FailureStatusError) as refused:
        tenant.patch(f"{PODS}/{name}", {"metadata": {"annotations": {annotation: None}}})
    assert said(refused.value) == sentence
    tenant.patch(f"{PODS}/{name}", {"metadata": {"annotations": {"team": "a"}}})
    tenant.delete_pod(NAMESPACE, name, grace_period_s=0)


def test_a_binding_of_somebody_else_does_not_say_on_which_gpus_a_pod_is(control_plane: ControlPlane, api: Api) -> None:
    """kube-scheduler's own rights suffice to bind, not to promise GPUs."""
    api.create_pod(NAMESPACE, {**asking({MEM: 8}), "metadata": {"name": "bound"}})
    control_plane.kubectl("create", "serviceaccount", "binder", f"--namespace={NAMESPACE}")
    role = ("create", "clusterrolebinding", "binder", "--clusterrole=system:kube-scheduler")
    control_plane.kubectl(*role, f"--serviceaccount={NAMESPACE}:binder")
    for resource in ("pods/binding", "bindings"):
        api.wait_allowed(f"system:serviceaccount:{NAMESPACE}:binder", "create", resource, NAMESPACE)
    binder = control_plane.api_as(NAMESPACE, "binder")
    target = {"apiVersion": "v1", "kind": "Node", "name": "somewhere"}
    forged = {"metadata": {"name": "bound", "annotations": {ALLOCATION: "{}"}}, "target": target}
    who = f"system:serviceaccount:{NAMESPACE}:binder"
    for path in (f"{PODS}/bound/binding", f"/api/v1/namespaces/{NAMESPACE}/bindings"):
        assert refusal(binder, forged, path) == f"{OURS}{who}"
    extender = control_plane.api_as("gpupack-system", "gpupack-scheduler")
    extender.create(f"{PODS}/bound/binding", forged)
    assert api.pod(NAMESPACE, "bound")["metadata"]["annotations"][ALLOCATION] == "{}"
    binder.close()
    extender.close()
    api.delete_pod(NAMESPACE, "bound", grace_period_s=0)


def plugin_on(control_plane: ControlPlane, node: str) -> ApiAccess:
    """The access of the device plugin of a node, with a token that belongs to its pod, as the kubelet asks for it."""
    account = "/api/v1/namespaces/gpupack-system/serviceaccounts/gpupack-device-plugin"
    api = control_plane.api
    running = pod(f"plugin-{node}", nodeName=node, serviceAccountName="gpupack-device-plugin", hostNetwork=False)
    created = api.create_pod("gpupack-system", running)
    owner = {"apiVersion": "v1", "kind": "Pod", "name": created["metadata"]["name"], "uid": created["metadata"]["uid"]}
    answer = api.create(f"{account}/token", {"spec": {"boundObjectRef": owner}})
    return control_plane.access(token=answer["status"]["token"])


def test_a_device_plugin_changes_its_own_annotations_on_its_own_node_only(
    control_plane: ControlPlane, api: Api
) -> None:
    """A token that was stolen from one node is of no use against the pods of another."""
    for node in ("node-a", "node-b"):
        api.create("/api/v1/nodes", {"metadata": {"name": node}})
        api.create_pod(NAMESPACE, pod(f"on-{node}", container(limits={MEM: 8}), nodeName=node))
    plugin = Api(plugin_on(control_plane, "node-a"))
    mine, inventory = (
        {"metadata": {"annotations": {ALLOCATED: "{}"}}},
        {"metadata": {"annotations": {"gpupack.io/inventory": "{}"}}},
    )
    plugin.patch(f"{PODS}/on-node-a", mine)
    plugin.patch("/api/v1/nodes/node-a", inventory)
    foreign = (
        "the device plugin of node node-a may change only that node and its pods; this object belongs to node node-b"
    )
    owner = f"{ACCOUNTS}device-plugin {OWN}"
    for path, body, sentence in (
        (f"{PODS}/on-node-b", mine, foreign),
        ("/api/v1/nodes/node-b", inventory, foreign),
        (f"{PODS}/on-node-a", {"metadata": {"annotations": {"team": "b"}}}, owner),
        (f"{PODS}/on-node-a", {"metadata": {"labels": {"app": "b"}}}, owner),
        (f"{PODS}/on-node-a", {"spec": {"activeDeadlineSeconds": 1}}, owner),
        ("/api/v1/nodes/node-a", {"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}}, owner),
        ("/api/v1/nodes/node-a", {"spec": {"unschedulable": True}}, owner),
    ):
        with pytest.raises(FailureStatusError) as refused:
            plugin.patch(path, body)
        assert said(refused.value) == sentence
    plugin.close()


STARTUP = {"key": "startup-taint.cluster-autoscaler.kubernetes.io/gpupack", "value": "true", "effect": "NoSchedule"}
DEDICATED = {"key": "example.com/team", "value": "a", "effect": "NoSchedule"}


def test_a_device_plugin_removes_startup_taints_and_no_others(control_plane: ControlPlane, api: Api) -> None:
    """From its own node; it adds none, changes none, and changes nothing else along with it."""
    for node in ("node-c", "node-d"):
        spec = {"taints": [STARTUP, DEDICATED], "podCIDR": "10.9.0.0/24"}
        api.create("/api/v1/nodes", {"metadata": {"name": node}, "spec": spec})
    plugin = Api(plugin_on(control_plane, "node-c"))
    mine, foreign = "/api/v1/nodes/node-c", "/api/v1/nodes/node-d"
    only = f"{ACCOUNTS}device-plugin {OWN}"
    another = (
        "the device plugin of node node-c may change only that node and its pods; this object belongs to node node-d"
    )
    for path, taints, more, sentence in (
        (mine, [STARTUP], {}, only),
        (mine, [], {}, only),
        (mine, [{**STARTUP, "value": "false"}, DEDICATED], {}, only),
        (mine, [STARTUP, DEDICATED, {**STARTUP, "effect": "NoExecute"}], {}, only),
        (mine, [DEDICATED], {"unschedulable": True}, only),
        (mine, [DEDICATED], {"providerID": "example://stolen"}, only),
        (foreign, [DEDICATED], {}, another),
    ):
        with pytest.raises(FailureStatusError) as refused:
            plugin.patch(path, {"spec": {"taints": taints, **more}})
        assert said(refused.value) == sentence
    plugin.patch(mine, {"spec": {"taints": [DEDICATED]}})
    assert [taint["key"] for taint in api.get(mine)["spec"]["taints"]] == [DEDICATED["key"]]
    api.patch(mine, {"spec": {"taints": [STARTUP]}})
    plugin.patch(mine, {"spec": {"taints": []}})
    assert "taints" not in api.get(mine)["spec"]
    plugin.close()


def test_the_plugins_own_write_removes_the_startup_taint(control_plane: ControlPlane, api: Api, tmp_path: Path) -> None:
    """As soon as the node offers GPU memory; what the kubelet writes in between is no obstacle for long."""
    path = "/api/v1/nodes/node-e"
    create_node(api, SimulatedNode("node-e"))
    api.patch(path, {"spec": {"taints": [STARTUP, DEDICATED]}})
    kubeconfig = write_kubeconfig(tmp_path / "kubeconfig", plugin_on(control_plane, "node-e"))
    with closing(connect(str(kubeconfig))) as plugin:
        removal = StartupTaints(
            api=plugin, node_name="node-e", names=Names(), keys=[STARTUP["key"]], is_registered=lambda: True
        )

        def look() -> list[str]:
            removal.step()
            return [taint["key"] for taint in api.get(path)["spec"].get("taints") or ()]

        with closing(connect(str(control_plane.admin_kubeconfig))) as admin:
            removal.take(decode_node(admin.read(path), Names()))
            assert look() == [STARTUP["key"], DEDICATED["key"]]
            set_resources(api, "node-e", {MEM: 16, GPU: 1, CORE: 100})
            seen = decode_node(admin.read(path), Names())
            api.patch(f"{path}/status", {"status": {"capacity": {"pods": "999"}}})
            removal.take(seen)
            assert look() == [STARTUP["key"], DEDICATED["key"]]
            removal.take(decode_node(admin.read(path), Names()))
            assert (look(), removal.problem) == ([DEDICATED["key"]], "")


def test_the_extender_changes_its_own_annotations_only(control_plane: ControlPlane, api: Api) -> None:
    """It wakes refused pods by an annotation, and that is all it has to change."""
    api.create_pod(NAMESPACE, {**asking({MEM: 8}), "metadata": {"name": "woken", "annotations": {"team": "a"}}})
    extender = control_plane.api_as("gpupack-system", "gpupack-scheduler")
    extender.patch(f"{PODS}/woken", {"metadata": {"annotations": {"gpupack.io/retry": "1"}}})
    with pytest.raises(FailureStatusError) as refused:
        extender.patch(f"{PODS}/woken", {"metadata": {"annotations": {"team": None}}})
    assert said(refused.value) == f"{ACCOUNTS}scheduler {OWN}"
    extender.close()
    api.delete_pod(NAMESPACE, "woken", grace_period_s=0)
