"""Runs the cluster on which the examples are tried: a real control plane with gpupack as a second scheduler.

Extender and device plugins are the shipped ones, under the service accounts, RBAC rules and admission policies of the
overlay; kubelets are simulated. Operators are not installed: their kinds exist, and tests make their pods.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.simulated.client import MERGE_PATCH
from bench.simulated.kubelet.pod_lifecycle import RUN_ANNOTATION
from bench.simulated.specs import MachineSpec
from bench.simulated.waiting import wait_until
from tests.checker import Checker
from tests.e2e.controlplane import ControlPlane
from tests.e2e.examples.customresources import CUSTOM_KINDS, CustomKind
from tests.e2e.examples.documented import REPOSITORY, Block
from tests.e2e.examples.metricsadapter import MetricsAdapter
from tests.e2e.scenarios.environment import MANIFESTS, NAMES, NAMESPACE, Environment, gpus

Body = dict[str, Any]
NODES = (MachineSpec("gpu-a", gpus(a100=2)), MachineSpec("gpu-b", gpus(a100=2)), MachineSpec("gpu-c", gpus(t4=4)))
_OVERLAY = MANIFESTS / "overlays" / "second-scheduler"
_COMMAND_TIMEOUT_S = 150.0


class SecondScheduler:
    """gpupack from its overlay beside a control plane, as a backend of Environment."""

    kind = "real"

    def __init__(self, control_plane: ControlPlane) -> None:
        control_plane.apply(_OVERLAY)
        # Its programs run beside the control plane here, not in pods.
        control_plane.kubectl("--namespace", NAMESPACE, "delete", "deployments,daemonsets", "--all")
        self.control_plane = control_plane
        self.admin = control_plane.admin_kubeconfig
        self.extender_access = control_plane.kubeconfig_for(NAMESPACE, "gpupack-scheduler")
        self.plugin_access = control_plane.kubeconfig_for(NAMESPACE, "gpupack-device-plugin")

    def start_scheduler(self, extender_url: str, stack: ExitStack) -> None:
        """Start kube-scheduler with the overlay's configuration."""
        configuration = yaml.safe_load((_OVERLAY / "scheduler-config.yaml").read_text(encoding="utf-8"))
        configuration["extenders"][0]["urlPrefix"] = extender_url
        self.control_plane.start_scheduler(configuration)
        stack.callback(self.control_plane.stop_scheduler)


@dataclass(frozen=True, slots=True)
class PlacedPod:
    """A running pod and what each of its containers got: container to GPU to units."""

    name: str
    node: str
    containers: Mapping[str, Mapping[str, int]]
    body: Body

    @property
    def gpus(self) -> dict[str, int]:
        """Units on each GPU."""
        sums: dict[str, int] = {}
        for units in self.containers.values():
            for uuid, amount in units.items():
                sums[uuid] = sums.get(uuid, 0) + amount
        return sums


class ExampleCluster:
    """A control plane that has started, with gpupack, three GPU nodes and a metrics adapter; a context manager."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self.control_plane = control_plane
        self._stack = ExitStack()

    def __enter__(self) -> "ExampleCluster":
        with ExitStack() as stack:
            serving = self.control_plane.authority.issue("metrics-adapter", "metrics-adapter")
            self.metrics = stack.enter_context(MetricsAdapter(serving))
            self._create([kind.definition() for kind in CUSTOM_KINDS] + self.metrics.registration())
            for kind in CUSTOM_KINDS:
                self.control_plane.api.wait_served(f"/apis/{kind.group}/{kind.version}/{kind.plural}")
            self.environment = Environment(SecondScheduler(self.control_plane))
            stack.callback(self.environment.stop)
            self.environment.start()
            self.client = self.environment.client
            for spec in NODES:
                self.environment.add_node(spec)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, block: Block, *, kubeconfig: Path | None = None) -> str:
        """Run a block of commands in the repository's root as the admin, or as another user; what it printed.

        Raises:
            AssertionError: it failed; the message is all that it said.
        """
        command = ["bash", "-euo", "pipefail", "-c"] if block.language == "sh" else [sys.executable, "-c"]
        path = f"{self.control_plane.binaries.kubectl.parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "KUBECONFIG": str(kubeconfig or self.control_plane.admin_kubeconfig)}
        done = subprocess.run(
            [*command, block.text],
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=_COMMAND_TIMEOUT_S,
        )
        assert done.returncode == 0, f"{block.text}\nprinted:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def custom(self, kind: CustomKind, name: str) -> Body:
        """A custom resource that an example has made."""
        return self.client.request("GET", kind.path(name))

    def create(self, *objects: Body) -> None:
        """Make what an operator would make: pods, Jobs, Deployments or StatefulSets in the default namespace."""
        for body in objects:
            collection = _COLLECTIONS[body.get("kind", "Pod")]
            self.client.request("POST", collection, body)

    def patch(self, path: str, patch: Body) -> Body:
        """Merge-patch an object."""
        return self.client.request("PATCH", path, patch, content_type=MERGE_PATCH)

    def pods(self, selector: str, namespace: str = "default") -> list[Body]:
        """Pods with these labels."""
        return self.client.pods(namespace, labelSelector=selector)

    def placed(
        self, selector: str, count: int, namespace: str = "default", *, timeout_s: float = 120
    ) -> list[PlacedPod]:
        """Wait until exactly so many pods with these labels are there, and all run with their GPUs reported."""

        def found() -> list[PlacedPod] | None:
            pods = [pod for pod in self.pods(selector, namespace) if pod["status"].get("phase") != "Succeeded"]
            if len(pods) != count or not all(_settled(pod) for pod in pods):
                return None
            return sorted((_placed(pod) for pod in pods), key=lambda pod: pod.name)

        return wait_until(found, f"{count} pods {selector} to run on their GPUs", timeout_s=timeout_s) if count else []

    def wait_gone(self, selector: str, namespace: str = "default") -> None:
        """Wait until no pod has these labels."""
        wait_until(lambda: not self.pods(selector, namespace), f"pods {selector} to be gone", timeout_s=90)

    def finish(self, *pods: PlacedPod) -> None:
        """Let pods' containers end well, and wait until they have."""
        for pod in pods:
            annotations = {"metadata": {"annotations": {RUN_ANNOTATION: "0"}}}
            self.client.patch_pod(pod.name, annotations, pod.body["metadata"]["namespace"])
        for pod in pods:
            self.client.wait_for_phase(pod.name, "Succeeded", namespace=pod.body["metadata"]["namespace"])

    def model(self, uuid: str) -> str:
        """The model of a GPU."""
        (found,) = {gpu["model"] for gpu in self._gpus() if gpu["uuid"] == uuid}
        return str(found)

    def wait_conserved(self, *groups: list[PlacedPod]) -> None:
        """Wait until the extender's ledger has on each GPU the sum of these pods and nothing else."""
        expected: dict[str, int] = {}
        for pod in (pod for group in groups for pod in group):
            for uuid, units in pod.gpus.items():
                expected[uuid] = expected.get(uuid, 0) + units

        def equal() -> bool:
            return {gpu["uuid"]: gpu["allocated"] for gpu in self._gpus() if gpu["allocated"]} == expected

        wait_until(equal, f"the ledger to be {expected}", timeout_s=60)
        assert all(gpu["allocated"] <= gpu["capacity"] for gpu in self._gpus())

    def clear(self) -> None:
        """Delete what a failed example has left behind."""
        self.control_plane.kubectl("delete", "namespace", "team-red", "team-blue", "--ignore-not-found", timeout_s=90)
        kinds = "deployments,statefulsets,jobs.batch,cronjobs,horizontalpodautoscalers,poddisruptionbudgets"
        self.control_plane.kubectl("delete", kinds, "--all", "--wait=false")
        for kind in CUSTOM_KINDS:
            self.control_plane.kubectl("delete", f"{kind.plural}.{kind.group}", "--all")
        self.control_plane.kubectl("delete", "pods", "--all", "--force", "--grace-period=0")
        self.wait_empty()

    def wait_empty(self) -> None:
        """Wait until no pod of an example is left, and nothing in the ledger."""
        wait_until(lambda: not self.client.pods("default"), "no pods", timeout_s=90)
        self.wait_conserved()

    def _gpus(self) -> list[Body]:
        return [gpu for node in self.environment.extender_nodes() for gpu in node["gpus"]]

    def _create(self, objects: list[Body]) -> None:
        manifest = self.control_plane.folder / f"objects-{time.monotonic_ns()}.yaml"
        manifest.write_text(yaml.safe_dump_all(objects), encoding="utf-8")
        self.control_plane.apply(manifest)


class Walk:
    """The commands of one example, run one block after another between the checks of its test."""

    def __init__(self, cluster: ExampleCluster, blocks: tuple[Block, ...]) -> None:
        self._cluster = cluster
        self.left = list(blocks)
        self.checker = Checker(cluster.client, NAMES)

    def step(self, *, kubeconfig: Path | None = None) -> str:
        """Run the next block; what it printed."""
        return self._cluster.run(self.left.pop(0), kubeconfig=kubeconfig)


_COLLECTIONS = {
    "Pod": "/api/v1/namespaces/default/pods",
    "Job": "/apis/batch/v1/namespaces/default/jobs",
    "Deployment": "/apis/apps/v1/namespaces/default/deployments",
    "StatefulSet": "/apis/apps/v1/namespaces/default/statefulsets",
}


def _settled(pod: Body) -> bool:
    wants = any(
        name.startswith(f"{NAMES.prefix}/") and str(amount) != "0"
        for container in pod["spec"]["containers"]
        for name, amount in (container.get("resources", {}).get("limits") or {}).items()
    )
    reported = NAMES.allocated_annotation in (pod["metadata"].get("annotations") or {})
    running: bool = pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]
    return running and (reported or not wants)


def _placed(pod: Body) -> PlacedPod:
    text = (pod["metadata"].get("annotations") or {}).get(NAMES.allocated_annotation, '{"containers": {}}')
    return PlacedPod(pod["metadata"]["name"], pod["spec"]["nodeName"], json.loads(text)["containers"], pod)
