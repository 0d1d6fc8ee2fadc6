"""The control plane behind the proxy: API server and schedulers, simulated or real."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import yaml

from bench.simulated.apiserver.server import ApiServer
from bench.simulated.client import ApiAccess, ClusterClient
from bench.simulated.scheduler.extender_client import ExtenderClient
from bench.simulated.scheduler.scheduler import SimulatedScheduler
from bench.simulated.starting import Startable
from bench.simulated.waiting import wait_until
from tests.e2e.controlplane import ControlPlane

_MANIFESTS = Path(__file__).parents[3] / "manifests" / "overlays" / "default-scheduler"
_NAMESPACE = "gpupack-system"


class Control(Protocol):
    """What the cluster needs of a control plane."""

    admin: Path
    """A kubeconfig that may do everything."""

    upstream: ApiAccess
    """What the proxy reaches the API server with, for the extender."""

    def start(self, folder: Path) -> None:
        """Start the API server; files may be put into `folder`."""
        ...

    def stop(self) -> None:
        """End it, or leave its API as empty as it was."""
        ...

    def start_scheduler(self, extender_url: str) -> Startable:
        """Start one more scheduler, which calls this extender."""
        ...


class SimulatedControl:
    """API server and schedulers of our own, in this process."""

    def __init__(self) -> None:
        self.api = ApiServer()

    def start(self, folder: Path) -> None:
        """Start the API server."""
        self.api.start()
        self.admin = self.api.write_kubeconfig(folder / "admin")
        self.upstream = ApiAccess(self.api.url)
        self._client = ClusterClient.from_kubeconfig(self.admin)

    def stop(self) -> None:
        """End it."""
        self._client.close()
        self.api.stop()

    def start_scheduler(self, extender_url: str) -> Startable:
        """Start a scheduler."""
        scheduler = SimulatedScheduler(self._client, ExtenderClient(extender_url))
        scheduler.start()
        return scheduler


class RealControl:
    """A real control plane that runs already; the extender has the rights that the manifests give it.

    Args:
        control_plane: it.
    """

    def __init__(self, control_plane: ControlPlane) -> None:
        self._control_plane = control_plane

    def start(self, folder: Path) -> None:
        """Give the extender its rights."""
        del folder
        self._control_plane.apply(_MANIFESTS)
        self.admin = self._control_plane.admin_kubeconfig
        self.upstream = self._control_plane.access_of(_NAMESPACE, "gpupack-scheduler")

    def stop(self) -> None:
        """Delete pods and nodes."""
        client = ClusterClient.from_kubeconfig(self.admin)
        for pod in client.pods():
            client.delete_pod(pod["metadata"]["name"], pod["metadata"]["namespace"], grace_s=0)
        for node in client.list_all("/api/v1/nodes")[0]:
            client.delete_node(node["metadata"]["name"])
        wait_until(lambda: not client.pods(), "all pods to be gone")
        client.close()

    def start_scheduler(self, extender_url: str) -> Startable:
        """Start kube-scheduler with the shipped configuration."""
        configuration = yaml.safe_load((_MANIFESTS / "scheduler-config.yaml").read_text(encoding="utf-8"))
        configuration["extenders"][0]["urlPrefix"] = extender_url
        scheduler = _RealScheduler(self._control_plane, configuration)
        scheduler.start()
        return scheduler


class _RealScheduler(Startable):
    def __init__(self, control_plane: ControlPlane, configuration: dict[str, Sequence[object]]) -> None:
        self._control_plane = control_plane
        self._configuration = configuration

    def start(self) -> None:
        self._control_plane.start_scheduler(self._configuration)

    def stop(self) -> None:
        self._control_plane.stop_scheduler()
