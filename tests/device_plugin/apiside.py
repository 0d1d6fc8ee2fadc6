"""The API server's side of a node agent's tests: a simulated server with one node, and ways to read its Events."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.simulated.apiserver.server import ApiServer
from bench.simulated.client import ClusterClient
from device_plugin.service import open_api
from extender.kube.client import KubeApi


class ApiSide:
    """A simulated API server with the node n1, a client for the test and one for what is tested."""

    def __init__(self, server: ApiServer, kubeconfig: Path) -> None:
        self.server = server
        self.client = ClusterClient.from_kubeconfig(kubeconfig)
        self.api: KubeApi = open_api(kubeconfig)
        self.client.create_node({"metadata": {"name": "n1"}})

    def events(self, name: str, namespace: str = "default") -> list[dict[str, Any]]:
        """The Events about an object, oldest first."""
        path = f"/api/v1/namespaces/{namespace}/events"
        found = self.client.list_all(path, fieldSelector=f"involvedObject.name={name}")[0]
        return sorted(found, key=lambda event: int(event["metadata"]["resourceVersion"]))

    def said(self, name: str) -> list[tuple[str, str, str, int]]:
        """Type, reason, message and count of the Events about an object."""
        return [(each["type"], each["reason"], each["message"], each["count"]) for each in self.events(name)]

    def create_pod(self, name: str, **metadata: Any) -> dict[str, Any]:
        """A pod that runs on n1."""
        container = {"name": "main", "image": "x", "resources": {"limits": {"gpupack.io/gpu-mem": "8"}}}
        spec = {"nodeName": "n1", "containers": [container]}
        return self.client.create_pod({"metadata": {"name": name, **metadata}, "spec": spec})


@contextmanager
def api_side(folder: Path) -> Iterator[ApiSide]:
    """Start one, and end it with the block."""
    with ApiServer() as server:
        side = ApiSide(server, server.write_kubeconfig(folder / "kubeconfig"))
        try:
            yield side
        finally:
            side.api.close()
            side.client.close()
