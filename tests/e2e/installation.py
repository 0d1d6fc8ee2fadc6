"""Runs the containers of installed pods as processes of this machine: with their arguments, variables and tokens.

What an image and the container runtime would bring is left out; what the manifests say is taken from the pods that the
real controllers made of them. Only addresses are changed, to free ports of 127.0.0.1, and paths, to this machine's.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from bench.simulated.client import write_kubeconfig
from bench.simulated.processes import ServerProcess, not_ok_because
from tests.e2e.api import Json
from tests.e2e.confinement import confined
from tests.e2e.controlplane import ControlPlane

REPOSITORY = Path(__file__).parents[2]
MANIFESTS = REPOSITORY / "manifests"
SYSTEM = "gpupack-system"
READY_TIMEOUT_S = 180
POD = {"kind": "Pod", "apiVersion": "v1"}


def rendered(control_plane: ControlPlane, folder: Path) -> list[Json]:
    """The objects that a folder with a kustomization stands for."""
    return list(yaml.safe_load_all(control_plane.kubectl("kustomize", str(folder))))


def pods_of(control_plane: ControlPlane, component: str) -> list[Json]:
    """The pods of a component: `scheduler` or `device-plugin`."""
    selector = f"app.kubernetes.io/name=gpupack,app.kubernetes.io/component={component}"
    items: list[Json] = control_plane.api.get(f"/api/v1/namespaces/{SYSTEM}/pods", labelSelector=selector)["items"]
    return items


def token_of(control_plane: ControlPlane, pod: Mapping[str, Any]) -> str:
    """The token that the kubelet would mount into the pod: it belongs to the pod, and names its node."""
    account = pod["spec"]["serviceAccountName"]
    owner = {**POD, "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
    path = f"/api/v1/namespaces/{SYSTEM}/serviceaccounts/{account}/token"
    token: str = control_plane.api.create(path, {"spec": {"boundObjectRef": owner}})["status"]["token"]
    return token


class ContainerProcess:
    """One container of an installed pod, as a process.

    Args:
        control_plane: where the pod is.
        pod: the pod, as the API server has it.
        container: which of its containers.
        folder: an empty folder of its own: kubeconfig, mounted ConfigMaps, log.
    """

    def __init__(self, control_plane: ControlPlane, pod: Mapping[str, Any], container: str, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.kubeconfig = folder / "kubeconfig"
        self._pod = pod
        (self._spec,) = [each for each in pod["spec"]["containers"] if each["name"] == container]
        token = token_of(control_plane, pod)
        write_kubeconfig(self.kubeconfig, control_plane.access(token=token))
        self._mounted = {mount["mountPath"]: self._mount(control_plane, mount["name"]) for mount in self._mounts()}
        self.process: ServerProcess | None = None

    def mounted(self, path: str) -> Path:
        """Where the volume that the container has at a path is on this machine."""
        return self._mounted[path]

    def command(self, changes: Mapping[str, str]) -> list[str]:
        """The container's arguments, but for the values of options in `changes` and the paths of mounted ConfigMaps.

        Raises:
            ValueError: it is not given an option that would be changed.
        """
        given = [*self._spec.get("command", []), *self._spec.get("args", [])]
        missing = [name for name in changes if not any(each.startswith(f"{name}=") for each in given)]
        if missing:
            raise ValueError(f"container {self._spec['name']}: has no {missing}, but {given}")
        return [self._changed(each, changes) for each in given]

    def environment(self) -> dict[str, str]:
        """Its variables, with what they take from the pod's fields."""
        found = {}
        for each in self._spec.get("env", []):
            if "valueFrom" in each:
                value: Any = self._pod
                for part in each["valueFrom"]["fieldRef"]["fieldPath"].split("."):
                    value = value[part]
                found[each["name"]] = str(value)
            else:
                found[each["name"]] = each["value"]
        return found

    def start(self, command: Sequence[str], writable: Sequence[Path] = ()) -> ServerProcess:
        """Run a command in its environment, and confined as it is; `writable` are folders of its volumes."""
        environment = {**os.environ, **self.environment(), "PYTHONPATH": str(REPOSITORY)}
        command = confined(command, self._spec, writable)
        self.process = ServerProcess(self._spec["name"], command, log=self.folder / "log", env=environment)
        return self.process

    def start_python(self, package: str, changes: Mapping[str, str], probed: str) -> None:
        """Run `python -m package` with the container's arguments, until /readyz at the address `probed` says 200."""
        access = f"--kubeconfig={self.kubeconfig}"
        writable = [Path(value) for name, value in changes.items() if name == "--kubelet-dir"]
        process = self.start([sys.executable, "-m", package, access, *self.command(changes)], writable)
        wait_ready(process, probed)

    def stop(self) -> None:
        """End it; harmless when it does not run."""
        if self.process is not None:
            self.process.stop()

    def _mounts(self) -> list[dict[str, Any]]:
        return [each for each in self._spec["volumeMounts"] if "serviceaccount" not in each["mountPath"]]

    def _mount(self, control_plane: ControlPlane, name: str) -> Path:
        """Write a ConfigMap's files to a folder of this machine; other volumes are empty folders."""
        (volume,) = [each for each in self._pod["spec"]["volumes"] if each["name"] == name]
        target = self.folder / name
        target.mkdir()
        if "configMap" in volume:
            path = f"/api/v1/namespaces/{SYSTEM}/configmaps/{volume['configMap']['name']}"
            for file, text in control_plane.api.get(path)["data"].items():
                (target / file).write_text(text, encoding="utf-8")
        return target

    def _changed(self, argument: str, changes: Mapping[str, str]) -> str:
        name, equals, value = argument.partition("=")
        if name in changes:
            return f"{name}={changes[name]}"
        for mount, folder in self._mounted.items():
            if equals and value.startswith(f"{mount}/"):
                return f"{name}={folder}{value.removeprefix(mount)}"
        return argument


def wait_ready(process: ServerProcess, probed: str) -> None:
    """Wait until /readyz at the address says 200.

    Raises:
        ProcessError: the process ended, or did not get ready.
    """
    process.wait_ready(lambda: not_ok_because(f"http://{probed}/readyz"), timeout_s=READY_TIMEOUT_S)
