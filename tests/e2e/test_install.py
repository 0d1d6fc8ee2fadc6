"""gpupack as its manifests install it, on a real control plane: every object, its rights, and where its pods go."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml

from bench.simulated.client import ClusterClient, FailureStatusError
from bench.simulated.kubelet.kubelet import SimulatedKubelet
from bench.simulated.processes import free_port
from bench.simulated.specs import MachineSpec
from bench.simulated.waiting import wait_until
from extender.contract.names import Names
from tests.e2e.admissioncases import LET_THROUGH, MISSPELT, REFUSED, refusal
from tests.e2e.api import Json
from tests.e2e.binaries import Binaries
from tests.e2e.controlplane import ControlPlane
from tests.e2e.installation import MANIFESTS, SYSTEM, ContainerProcess, pods_of, rendered
from tests.e2e.nodes import SimulatedNode, create_node, delete_node
from tests.e2e.podspecs import container, pod

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

OVERLAYS = sorted(path.name for path in (MANIFESTS / "overlays").iterdir())
COMPONENTS = sorted(path.name for path in (MANIFESTS / "components").iterdir())
STATIC_POD = MANIFESTS / "overlays" / "default-scheduler" / "extender-static-pod.yaml"
NAMES = Names()
SCHEDULER = "gpupack-scheduler"


def overlay(name: str) -> Path:
    """The folder of an overlay."""
    return MANIFESTS / "overlays" / name


@pytest.fixture(scope="module")
def system(control_plane: ControlPlane) -> ControlPlane:
    """The control plane with gpupack's namespace, which a dry run does not make."""
    control_plane.apply(MANIFESTS / "base" / "namespace.yaml")
    return control_plane


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_api_server_takes_every_object_of_an_overlay(system: ControlPlane, name: str) -> None:
    """All of its validation and admission, without a warning."""
    objects = rendered(system, overlay(name))
    applied = system.kubectl(
        "apply", "--server-side", "--dry-run=server", "--warnings-as-errors", "-k", str(overlay(name))
    )
    assert len(applied.splitlines()) == len(objects) > 15


@pytest.mark.parametrize("name", COMPONENTS)
def test_the_api_server_takes_an_overlay_with_a_component(system: ControlPlane, name: str, tmp_path: Path) -> None:
    """As docs/install.md says to add one."""
    folder = MANIFESTS.parent
    # kustomize takes relative paths only.
    up = Path(*[".."] * len(tmp_path.parts[1:]), *folder.parts[1:], "manifests")
    kustomization = {
        "resources": [str(up / "overlays/second-scheduler")],
        "components": [str(up / "components" / name)],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), encoding="utf-8")
    system.kubectl("apply", "--server-side", "--dry-run=server", "--warnings-as-errors", "-k", str(tmp_path))


def test_the_api_server_takes_the_static_pod(system: ControlPlane) -> None:
    """The kubelet of a control plane node mirrors it there."""
    system.kubectl("apply", "--server-side", "--dry-run=server", "--warnings-as-errors", "-f", str(STATIC_POD))


def pod_security(system: ControlPlane, level: str, spec: Json) -> str:
    """What PodSecurity says of a pod in a namespace that enforces a level; empty when it may be."""
    name = f"enforces-{level}"
    if not system.api.exists(f"/api/v1/namespaces/{name}"):
        labels = {"pod-security.kubernetes.io/enforce": level}
        system.api.create("/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
    used = {each: spec[each] for each in spec if each not in ("serviceAccountName", "priorityClassName")}
    try:
        system.api.create(f"/api/v1/namespaces/{name}/pods?dryRun=All", {"metadata": {"name": "p"}, "spec": used})
    except FailureStatusError as error:
        if "violates PodSecurity" not in error.message and "service account" in error.message:
            wait_until(
                lambda: system.api.exists(f"/api/v1/namespaces/{name}/serviceaccounts/default"), what="its account"
            )
            return pod_security(system, level, spec)
        return error.message.partition(": violates PodSecurity ")[2]
    return ""


def test_the_scheduler_runs_under_the_restricted_pod_security_standard(system: ControlPlane) -> None:
    """The namespace enforces less for the sake of the device plugin alone."""
    for name in ("second-scheduler", "simulated"):
        (deployment,) = [each for each in rendered(system, overlay(name)) if each["kind"] == "Deployment"]
        assert pod_security(system, "restricted", deployment["spec"]["template"]["spec"]) == ""


def test_the_device_plugin_asks_for_the_host_and_for_nothing_else(system: ControlPlane) -> None:
    """Each line is a reason in docs/security.md; a new one needs another."""
    (plugin,) = [each for each in rendered(system, overlay("second-scheduler")) if each["kind"] == "DaemonSet"]
    spec = plugin["spec"]["template"]["spec"]
    assert pod_security(system, "baseline", spec) == (
        '"baseline:latest": host namespaces (hostPID=true), '
        'hostPath volumes (volumes "device-plugins", "pod-resources", "dev")'
    )
    assert pod_security(system, "restricted", spec) == (
        '"restricted:latest": host namespaces (hostPID=true), '
        'restricted volume types (volumes "device-plugins", "pod-resources", "dev" '
        'use restricted volume type "hostPath"), '
        'runAsNonRoot != true (pod or container "device-plugin" must set securityContext.runAsNonRoot=true), '
        'runAsUser=0 (container "device-plugin" must not set runAsUser=0)'
    )


def choosing(body: Json) -> Json:
    """The pod with the scheduler that the second-scheduler overlay asks for."""
    return {**body, "spec": {**body["spec"], "schedulerName": SCHEDULER}}


@pytest.mark.parametrize("version", ["1.33", "1.34", "1.35"])
def test_older_versions_of_the_api_take_every_object(binaries: Binaries, version: str) -> None:
    """With the fields, defaults and CEL of that minor, as kube-apiserver emulates it; the policies say the same."""
    with ControlPlane(binaries, apiserver_flags=[f"--emulated-version={version}"]) as older:
        older.apply(MANIFESTS / "base" / "namespace.yaml")
        for name in OVERLAYS:
            older.kubectl("apply", "--server-side", "--warnings-as-errors", "-k", str(overlay(name)))
        older.api.create_namespace("team-a")
        for nonsense in (REFUSED["memory not divided"][0], MISSPELT["plural"][0]):
            wait_until(partial(refusal, older.api, choosing(nonsense)), what="the policies to be in force")
        cases = (*REFUSED.values(), *MISSPELT.values(), *((body, "") for body in LET_THROUGH.values()))
        for body, sentence in cases:
            assert refusal(older.api, choosing(body)) == sentence
        configuration = yaml.safe_load(
            (overlay("default-scheduler") / "scheduler-config.yaml").read_text(encoding="utf-8")
        )
        older.start_scheduler(configuration, flags=[f"--emulated-version={version}"])


def test_device_plugins_run_where_a_gpu_was_found(system: ControlPlane) -> None:
    """By the labels of those who look for GPUs; an admin's word goes before theirs."""
    system.start_scheduler()
    off = {"gpupack.io/gpu": "false"}
    with_gpu = {
        "by-hand": {"gpupack.io/gpu": "true"},
        "gfd": {"nvidia.com/gpu.present": "true"},
        "nfd": {"feature.node.kubernetes.io/pci-10de.present": "true"},
        "nfd-3d": {"feature.node.kubernetes.io/pci-0302_10de.present": "true"},
        "nfd-vga": {"feature.node.kubernetes.io/pci-0300_10de.present": "true"},
        "gke": {"cloud.google.com/gke-accelerator": "nvidia-l4"},
        "eks": {"k8s.amazonaws.com/accelerator": "nvidia-l4"},
    }
    without = {"cpu": {}, "other": {"feature.node.kubernetes.io/pci-1002.present": "true"}}
    kept_out = {f"{name}-off": {**labels, **off} for name, labels in with_gpu.items()}
    paused = {"nvidia.com/gpu.present": "true", "nvidia.com/gpu.deploy.client": "paused-for-driver-upgrade"}
    nodes = {**with_gpu, **without, **kept_out, "paused": paused}
    for name, labels in nodes.items():
        create_node(system.api, SimulatedNode(name, labels=labels))
    system.apply(overlay("second-scheduler"))

    def placed() -> set[str]:
        return {str(each["spec"].get("nodeName", "")) for each in pods_of(system, "device-plugin")}

    wait_until(lambda: placed() >= set(with_gpu), what="a device plugin on each GPU node")
    assert placed() == set(with_gpu)
    found = wait_until(lambda: pods_of(system, "scheduler"), what="the scheduler's pods")
    assert {each["spec"]["priorityClassName"] for each in found} == {"system-cluster-critical"}
    system.kubectl("delete", "-k", str(overlay("second-scheduler")), "--wait=false")
    for name in nodes:
        delete_node(system.api, name)

    def gone() -> bool:
        # No kubelet ends the pods; the garbage collector may be quicker with those that have no node.
        for each in [*pods_of(system, "device-plugin"), *pods_of(system, "scheduler")]:
            system.api.remove_pod(SYSTEM, each["metadata"]["name"])
        return not system.api.exists(f"/api/v1/namespaces/{SYSTEM}")

    wait_until(gone, what="the namespace to be gone", timeout_s=200)


@pytest.fixture
def installed(control_plane: ControlPlane, tmp_path: Path) -> Iterator[ControlPlane]:
    """The simulated overlay, applied, with its containers running as processes under the tokens of their pods."""
    with ExitStack() as stack:
        control_plane.start_scheduler()
        client = ClusterClient.from_kubeconfig(control_plane.admin_kubeconfig)
        stack.callback(client.close)
        # A short path: it holds Unix sockets.
        root = stack.enter_context(TemporaryDirectory(prefix="gpupack-kubelet-", ignore_cleanup_errors=True))
        kubelet = SimulatedKubelet(MachineSpec("node"), client, Path(root))
        stack.enter_context(kubelet)
        control_plane.apply(overlay("simulated"))

        def running(component: str, count: int) -> list[Json] | None:
            found = pods_of(control_plane, component)
            bound = [each for each in found if each["spec"].get("nodeName")]
            return bound if len(bound) == count else None

        (plugin_pod,) = wait_until(lambda: running("device-plugin", 1), what="the device plugin's pod")
        scheduler_pod, _standby = wait_until(lambda: running("scheduler", 2), what="the scheduler's pods")
        stack.enter_context(_plugin(control_plane, plugin_pod, kubelet, tmp_path / "plugin"))
        port = free_port()
        extender = ContainerProcess(control_plane, scheduler_pod, "extender", tmp_path / "extender")
        stack.callback(extender.stop)
        observed = f"127.0.0.1:{free_port()}"
        extender.start_python("extender", {"--listen": f"127.0.0.1:{port}", "--observe-listen": observed}, observed)
        scheduler = ContainerProcess(control_plane, scheduler_pod, "kube-scheduler", tmp_path / "kube-scheduler")
        stack.callback(scheduler.stop)
        _start_scheduler(control_plane, scheduler, port)
        yield control_plane


def _plugin(control_plane: ControlPlane, pod: Json, kubelet: SimulatedKubelet, folder: Path) -> ExitStack:
    process = ContainerProcess(control_plane, pod, "device-plugin", folder)
    assert process.environment()["GPUPACK_NODE_NAME"] == "node"
    address = f"127.0.0.1:{free_port()}"
    changes = {
        "--kubelet-dir": str(kubelet.plugins_folder),
        "--podresources-socket": str(kubelet.podresources_socket),
        "--listen": address,
    }
    stack = ExitStack()
    stack.callback(process.stop)
    process.start_python("device_plugin", changes, address)
    return stack


def _start_scheduler(control_plane: ControlPlane, container: ContainerProcess, extender_port: int) -> None:
    """As its pod would: the installed configuration, under its service account, with leader election."""
    file = container.mounted("/etc/gpupack") / "config.yaml"
    text = file.read_text(encoding="utf-8")
    assert "http://127.0.0.1:39999" in text
    text = text.replace("http://127.0.0.1:39999", f"http://127.0.0.1:{extender_port}")
    connection = yaml.safe_dump({"clientConnection": {"kubeconfig": str(container.kubeconfig)}})
    file.write_text(text + connection, encoding="utf-8")
    _program, *arguments = container.command({})
    port = free_port()
    # What in a pod comes from its service account's folder.
    access = [f"--{what}-kubeconfig={container.kubeconfig}" for what in ("authentication", "authorization")]
    process = container.start(
        [str(control_plane.binaries.kube_scheduler), *arguments, *access, f"--secure-port={port}"]
    )
    lease = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/{SCHEDULER}"

    def not_leading() -> str | None:
        return None if control_plane.api.exists(lease) else "it leads not yet"

    process.wait_ready(not_leading, timeout_s=180)


def test_what_is_installed_runs_a_pod_under_its_own_rights(installed: ControlPlane) -> None:
    """From apply to a container's GPU, with nothing denied to any of gpupack's service accounts."""
    installed.api.create_namespace("work")
    asks = pod("asks", container(limits={NAMES.memory_resource: 8}), schedulerName=SCHEDULER)
    installed.api.create_pod("work", asks)

    def reported() -> Json | None:
        found = installed.api.pod("work", "asks")
        return found if NAMES.allocated_annotation in found["metadata"].get("annotations", {}) else None

    found = wait_until(reported, what="the device plugin to say which GPU it gave", timeout_s=120)
    annotations = found["metadata"]["annotations"]
    assert re.sub(r'"(policy|at)":.*', "", annotations[NAMES.allocation_annotation]) == re.sub(
        r'"(policy|at)":.*', "", annotations[NAMES.allocated_annotation]
    )
    for account in (SCHEDULER, "gpupack-device-plugin"):
        requests = installed.audited(SYSTEM, account)
        assert len(requests) > 3
        assert [each for each in requests if not each.allowed or each.status in (401, 403, 422)] == []
