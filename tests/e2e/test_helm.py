"""The commands of docs/helm.md on a real control plane: install, change, go back, remove."""

from pathlib import Path

import pytest

from bench.simulated.waiting import wait_until
from tests.e2e.api import Json
from tests.e2e.controlplane import ControlPlane
from tests.e2e.installation import SYSTEM, pods_of
from tests.e2e.nodes import SimulatedNode, create_node
from tests.e2e.pagewalk import PageWalk
from tests.manifests.conftest import programs as programs_fixture

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

programs = programs_fixture
PAGE = "docs/helm.md"
_OPTIONS = ("simulated", "mps", "driverLimits", "evictOveruse", "mig", "setSchedulerName")
_POLICIES = ",".join(
    f"{kind}admissionpolic{end}" for kind in ("validating", "mutating") for end in ("ies", "ybindings")
)


@pytest.fixture(scope="module")
def walk(control_plane: ControlPlane, programs: Path, tmp_path_factory: pytest.TempPathFactory) -> PageWalk:
    """An admin with Helm in front of a cluster of one node."""
    create_node(control_plane.api, SimulatedNode("node"))
    control_plane.start_scheduler()
    replacing = {"NODE": "node", "REGISTRY": "registry.example"}
    return PageWalk(control_plane, tmp_path_factory.mktemp("helm"), replacing, (programs,))


def deployment(control_plane: ControlPlane) -> Json:
    """The second scheduler's."""
    return control_plane.api.get(f"/apis/apps/v1/namespaces/{SYSTEM}/deployments/gpupack-scheduler")


def extender_options(control_plane: ControlPlane) -> list[str]:
    """What the extender is started with."""
    containers = deployment(control_plane)["spec"]["template"]["spec"]["containers"]
    (extender,) = [each for each in containers if each["name"] == "extender"]
    options: list[str] = extender["args"]
    return options


def test_the_page_installs_changes_and_removes(walk: PageWalk, control_plane: ControlPlane) -> None:
    """Block by block; nothing of the release is left at the end."""
    install, change, remove = walk.blocks(PAGE)
    told = walk.run(install)
    assert "schedulerName: gpupack-scheduler" in told
    plugins = wait_until(lambda: pods_of(control_plane, "device-plugin"), what="the device plugin's pod")
    assert [each["spec"]["containers"][0]["image"] for each in plugins] == [
        "registry.example/gpupack-device-plugin:0.1.0"
    ]
    containers = deployment(control_plane)["spec"]["template"]["spec"]["containers"]
    version = control_plane.api.get("/version")["gitVersion"]
    assert [each["image"] for each in containers] == [
        f"registry.k8s.io/kube-scheduler:{version}",
        "registry.example/gpupack-extender:0.1.0",
    ]
    before = extender_options(control_plane)
    upgrade, rollback = (line for line in change.splitlines() if line)
    walk.run(upgrade)
    assert extender_options(control_plane) == [*before, "--policy=binpack"]
    walk.run(rollback)
    assert extender_options(control_plane) == before
    walk.run(remove.splitlines()[0])
    kinds = f"{_POLICIES},clusterroles,clusterrolebindings"
    assert "gpupack" not in walk.run(f"kubectl get {kinds} --output=name")
    assert walk.run(
        f"kubectl get deployments,daemonsets,roles,configmaps --namespace={SYSTEM} --output=name"
    ).split() == ["configmap/kube-root-ca.crt"]


def test_every_option_installs_on_a_real_api_server(walk: PageWalk, control_plane: ControlPlane) -> None:
    """All but the one that needs the Prometheus Operator; into another namespace as well."""
    control_plane.api.create_namespace("gpus")
    on = " ".join(f"--set {name}.enabled=true" for name in _OPTIONS)
    walk.run(f"helm install other manifests/chart --namespace gpus {on}")
    found = walk.run("kubectl get daemonsets --namespace=gpus --output=name").split()
    assert found == ["daemonset.apps/gpupack-device-plugin", "daemonset.apps/gpupack-mps"]
    walk.run("helm uninstall other --namespace gpus")
