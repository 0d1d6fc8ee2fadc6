"""The control plane that the other end-to-end tests stand on does what a real cluster does."""

from collections.abc import Iterator

import pytest

from bench.simulated.client import FailureStatusError
from bench.simulated.processes import ProcessError
from bench.simulated.waiting import wait_until
from tests.e2e.api import Api
from tests.e2e.audit import Right
from tests.e2e.controlplane import ControlPlane
from tests.e2e.nodes import SimulatedNode, create_node, delete_node, set_resources
from tests.e2e.podspecs import container, pod
from tests.e2e.schedulerconfig import ExtenderStanza, scheduler_configuration
from tests.e2e.yesextender import YesExtender

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ROLE = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, namespace: rights}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reads-nodes}
rules:
- {apiGroups: [""], resources: [nodes], verbs: [list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: reads-nodes}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reads-nodes}
subjects:
- {kind: ServiceAccount, name: reader, namespace: rights}
"""


@pytest.fixture(scope="module")
def api(control_plane: ControlPlane) -> Iterator[Api]:
    """The API of a control plane with a scheduler, one simulated node and a namespace "work"."""
    control_plane.start_scheduler()
    create_node(control_plane.api, SimulatedNode("node-a", cpu="4", memory="8Gi", resources={"gpupack.io/gpu-mem": 16}))
    control_plane.api.create_namespace("work")
    yield control_plane.api
    delete_node(control_plane.api, "node-a")


def test_reports_the_kubernetes_version_that_it_was_built_from(api: Api) -> None:
    """Programs that ask for the version must not see a development build."""
    version = api.get("/version")
    assert (version["major"], int(version["minor"]) >= 36) == ("1", True)


def test_a_plain_pod_is_scheduled_onto_the_simulated_node(api: Api) -> None:
    """The stock scheduler takes the simulated node for a real one."""
    api.create_pod("work", pod("plain", container(limits={"cpu": "1"})))
    assert api.wait_scheduled("work", "plain") == "node-a"


def test_an_extended_resource_that_is_short_leaves_the_pod_pending_with_the_reason(api: Api) -> None:
    """The scheduler counts extended resources by itself, and takes the pod when there is more."""
    api.create_pod("work", pod("big", container(limits={"gpupack.io/gpu-mem": 17})))
    api.wait_unschedulable("work", "big", "Insufficient gpupack.io/gpu-mem")
    set_resources(api, "node-a", {"gpupack.io/gpu-mem": 32})
    assert api.wait_scheduled("work", "big") == "node-a"


def test_a_force_deleted_pod_of_a_simulated_node_is_gone_at_once(api: Api) -> None:
    """No kubelet is there to confirm the end."""
    api.create_pod("work", pod("gone"))
    api.wait_scheduled("work", "gone")
    api.delete_pod("work", "gone", grace_period_s=0)
    assert not api.exists("/api/v1/namespaces/work/pods/gone")


def test_a_deleted_pod_of_a_simulated_node_stays_terminating(api: Api) -> None:
    """So a test can look at what a terminating pod still holds."""
    api.create_pod("work", pod("leaving"))
    api.wait_scheduled("work", "leaving")
    api.delete_pod("work", "leaving")
    assert "deletionTimestamp" in api.pod("work", "leaving")["metadata"]


def test_a_service_account_may_do_what_its_role_grants_and_no_more(control_plane: ControlPlane, api: Api) -> None:
    """RBAC is on, TokenRequest works, and the audit log tells which rights were used and which were missing."""
    api.create_namespace("rights")
    manifest = control_plane.folder / "role.yaml"
    manifest.write_text(ROLE, encoding="utf-8")
    control_plane.apply(manifest)
    api.wait_allowed("system:serviceaccount:rights:reader", "list", "nodes")
    reader = control_plane.api_as("rights", "reader")
    assert [node["metadata"]["name"] for node in reader.get("/api/v1/nodes")["items"]] == ["node-a"]
    with pytest.raises(FailureStatusError, match="is forbidden") as refused:
        reader.get("/api/v1/namespaces/work/pods/plain")
    assert refused.value.status == 403
    reader.close()
    requests = wait_until(
        lambda: seen if len(seen := control_plane.audited("rights", "reader")) == 2 else None,
        what="two lines in the audit log",
    )
    assert [(request.right, request.allowed) for request in requests] == [
        (Right("list", "", "nodes"), True),
        (Right("get", "", "pods"), False),
    ]


def test_the_kubeconfig_of_a_service_account_acts_as_it(control_plane: ControlPlane, api: Api) -> None:
    """A program started with the file is that service account."""
    api.create_namespace("tokens")
    kubeconfig = control_plane.kubeconfig_for("tokens", "default")
    who = control_plane.kubectl("auth", "whoami", f"--kubeconfig={kubeconfig}", "--output=yaml")
    assert "system:serviceaccount:tokens:default" in who


def test_pods_wait_while_the_scheduler_is_stopped_and_another_configuration_takes_them(
    control_plane: ControlPlane, api: Api
) -> None:
    """The scheduler can be exchanged under a running cluster."""
    control_plane.stop_scheduler()
    api.create_pod("work", pod("waiting"))
    control_plane.start_scheduler()
    assert api.wait_scheduled("work", "waiting") == "node-a"


def test_the_scheduler_asks_an_extender_about_pods_with_managed_resources_only(
    control_plane: ControlPlane, api: Api
) -> None:
    """The written configuration is one that kube-scheduler takes and follows."""
    create_node(api, SimulatedNode("node-b", cpu="4", memory="8Gi", resources={"gpupack.io/gpu-mem": 16}))
    with YesExtender() as extender:
        stanza = ExtenderStanza(extender.url, bind_verb=None)
        control_plane.start_scheduler(scheduler_configuration([stanza]))
        api.create_pod("work", pod("asked", container(limits={"gpupack.io/gpu-mem": 1})))
        api.create_pod("work", pod("not-asked"))
        api.wait_scheduled("work", "asked")
        api.wait_scheduled("work", "not-asked")
        control_plane.start_scheduler()
    delete_node(api, "node-b")
    assert extender.calls == [("/filter", "asked"), ("/prioritize", "asked")]


def test_a_flag_reaches_the_scheduler(control_plane: ControlPlane, api: Api) -> None:
    """Feature gates are how some of its behaviour is changed."""
    control_plane.start_scheduler(flags=["--feature-gates=SchedulerPopFromBackoffQ=false"])
    api.create_pod("work", pod("gated-feature"))
    assert api.wait_scheduled("work", "gated-feature") == "node-a"


def test_a_configuration_that_the_scheduler_refuses_is_shown_with_its_words(control_plane: ControlPlane) -> None:
    """A mistake in a configuration must not look like a hanging scheduler."""
    with pytest.raises(ProcessError, match="percentageOfNodesToScore"):
        control_plane.start_scheduler(scheduler_configuration(percentage_of_nodes_to_score=101))
    control_plane.start_scheduler()
