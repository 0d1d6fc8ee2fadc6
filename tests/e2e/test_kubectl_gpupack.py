"""The plugin of the real kubectl, on a real control plane: every command of docs/kubectl.md, and what it shows."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench.simulated.specs import GpuSpec, MachineSpec, gpu_pod
from bench.simulated.waiting import wait_until
from extender.contract.inventory import Inventory
from tests.docs.pages import REPOSITORY, commands, fences
from tests.e2e.controlplane import ControlPlane
from tests.e2e.measured import MeasuredPlugin, own_address
from tests.e2e.scenarios.environment import MEMORY, NAMES, Environment, RealBackend, gpus

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

PAGE = REPOSITORY / "docs" / "kubectl.md"
T4 = GpuSpec("Tesla T4", 15360)
PLUGIN = f"""#!{sys.executable}
import sys
sys.path.insert(0, {str(REPOSITORY)!r})
from extender.kubectl.cli import kubectl_gpupack
kubectl_gpupack()
"""
"""What installing the project puts into PATH as kubectl-gpupack."""


@pytest.fixture(scope="module")
def environment(control_plane: ControlPlane) -> Iterator[Environment]:
    """Two nodes with GPUs, one of them unhealthy; three pods that run and one that fits nowhere; use is measured."""
    if not own_address():
        pytest.skip("the API server's proxy connects to no loopback address, and this machine has no other")
    started = Environment(RealBackend(control_plane), extender_arguments=("--policy", "binpack"))
    try:
        started.start()
        spec = MachineSpec("gpu-1", gpus(a100=2))
        started.add_hollow_node(spec)
        started.client.create_node(_with_an_unhealthy_gpu(MachineSpec("gpu-2", (T4, T4))))
        wait_until(lambda: len(started.extender_nodes()) == 2, "the extender to know the nodes")
        model = {"gpupack.io/gpu-model": "A100*"}
        for name, units in (("llm", 48), ("notebook", 8), ("trial", 40)):
            started.client.create_pod(gpu_pod(name, {MEMORY: units}, annotations=model))
            started.wait_bound(name)
            started.client.patch_pod(name, {"status": {"phase": "Running"}}, subresource="status")
        started.client.create_pod(gpu_pod("llm-large", {MEMORY: 60}))
        started.wait_refused("llm-large", "0/2 nodes")
        first, second = (gpu.uuid for gpu in spec.inventory().gpus)
        used = {("llm", first): 40_000, ("notebook", first): 900, ("trial", second): 12_288}
        with MeasuredPlugin(started.client, "gpu-1", spec.inventory(), used):
            yield started
    finally:
        started.stop()


def _with_an_unhealthy_gpu(spec: MachineSpec) -> dict[str, object]:
    body = spec.hollow_node_object(NAMES)
    healthy = spec.inventory()
    first, *others = healthy.gpus
    ill = Inventory(healthy.unit_mib, (replace(first, healthy=False, reason="XID 79"), *others))
    body["metadata"]["annotations"][NAMES.inventory_annotation] = ill.to_json()
    for amounts in (body["status"]["capacity"], body["status"]["allocatable"]):
        amounts[MEMORY] = str(sum(ill.units_of(gpu) for gpu in others))
    return body


@pytest.fixture
def shell(environment: Environment, control_plane: ControlPlane, tmp_path: Path) -> dict[str, str]:
    """The environment of someone who has kubectl, the plugin, and a kubeconfig."""
    plugin = tmp_path / "kubectl-gpupack"
    plugin.write_text(PLUGIN)
    plugin.chmod(0o755)
    path = os.pathsep.join([str(tmp_path), str(control_plane.binaries.kubectl.parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "KUBECONFIG": str(environment.backend.admin), "COLUMNS": "80"}


def typed(command: str, shell: dict[str, str]) -> str:
    """What a command prints; it must work."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command], env=shell, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_commands_of_the_page_work_and_say_what_it_shows(shell: dict[str, str]) -> None:
    """One after the other; every line of the output in docs/kubectl.md is in what they print."""
    said = [line for command in commands(PAGE) for line in typed(command.text, shell).splitlines()]
    shown = [line for fence in fences(PAGE) if not fence.language for line in fence.text.splitlines()]
    assert [line for line in shown if line not in said] == []


def test_the_shown_role_is_enough_to_look(
    shell: dict[str, str], control_plane: ControlPlane, environment: Environment
) -> None:
    """With it top, pods and explain know all; without the part for pods/proxy they say what is missing."""
    (role,) = [fence.text for fence in fences(PAGE) if fence.language == "yaml"]
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "viewer"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "gpupack-viewer"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}],
    }
    roles = "/apis/rbac.authorization.k8s.io/v1"
    subprocess.run(["kubectl", "apply", "-f", "-"], env=shell, input=role, text=True, check=True, timeout=60)
    environment.client.request("POST", f"{roles}/clusterrolebindings", binding)
    control_plane.api.wait_allowed("system:serviceaccount:default:default", "list", "nodes")
    viewer = {**shell, "KUBECONFIG": str(control_plane.kubeconfig_for("default", "default"))}
    assert "39.94Gi" in typed("kubectl gpupack top", viewer)
    assert "39.06Gi" in typed("kubectl gpupack pods", viewer)
    assert "fits now, on gpu-1" in typed("kubectl gpupack explain llm-large", viewer)
    given = environment.client.request("GET", f"{roles}/clusterroles/gpupack-viewer")["rules"]
    rules = [rule for rule in given if "pods/proxy" not in rule["resources"]]
    environment.client.request(
        "PATCH", f"{roles}/clusterroles/gpupack-viewer", {"rules": rules}, content_type="application/merge-patch+json"
    )
    wait_until(
        lambda: (
            "not allowed: get pods/proxy in namespace gpupack-system" in typed("kubectl gpupack top -o wide", viewer)
        ),
        "the right to be gone",
    )
    refused = subprocess.run(
        ["kubectl", "gpupack", "cordon", "gpu-1/0"], env=viewer, capture_output=True, text=True, check=False, timeout=60
    )
    assert refused.returncode == 3
    assert refused.stderr.startswith("Error: /api/v1/nodes/gpu-1: not allowed: ")


def test_the_doctor_knows_the_rights_of_the_service_accounts(shell: dict[str, str]) -> None:
    """Asked of the real authorizer."""
    found = subprocess.run(
        ["kubectl", "gpupack", "doctor"], env=shell, capture_output=True, text=True, check=False, timeout=60
    )
    account = "system:serviceaccount:gpupack-system:gpupack-device-plugin"
    assert f"{account} has every right that it needs" in found.stdout


def test_size_advice_rests_on_what_the_node_agents_measured(shell: dict[str, str]) -> None:
    """Peaks come through the API server's proxy; the notebook uses 900 MiB of its 8 GiB."""
    told = json.loads(typed("kubectl gpupack size-advice -o json", shell))
    workloads = {one["workload"]: one for one in told["workloads"]}
    peaks = {name: (one["peakMib"], one["leastUnits"]) for name, one in workloads.items()}
    assert peaks == {"Pod/llm": (40_000.0, 43), "Pod/notebook": (900.0, 1), "Pod/trial": (12_288.0, 14)}
    assert told["problems"] == {}
