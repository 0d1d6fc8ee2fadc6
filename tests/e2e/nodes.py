"""Creates Node objects that no kubelet stands behind, from what they shall offer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.simulated.client import STRATEGIC_PATCH
from tests.e2e.api import Api


@dataclass(frozen=True, slots=True)
class SimulatedNode:
    """What a node offers. `resources` adds extended resources: {"gpupack.io/gpu-mem": 640}."""

    name: str
    cpu: str = "96"
    memory: str = "1Ti"
    pods: int = 1000
    resources: Mapping[str, int] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The Node object without its status."""
        return {
            "metadata": {
                "name": self.name,
                "labels": {"kubernetes.io/hostname": self.name, "kubernetes.io/os": "linux", **self.labels},
                "annotations": dict(self.annotations),
            }
        }

    def status(self) -> dict[str, Any]:
        """The node's status: ready, and all of its capacity allocatable."""
        capacity = {
            "cpu": self.cpu,
            "memory": self.memory,
            "pods": str(self.pods),
            **{name: str(amount) for name, amount in self.resources.items()},
        }
        ready = {"type": "Ready", "status": "True", "reason": "Simulated", "message": "no kubelet runs here"}
        return {"capacity": capacity, "allocatable": capacity, "conditions": [ready]}


def create_node(api: Api, node: SimulatedNode) -> None:
    """Create the node, ready to take pods; they stay Pending with a node name, since nothing runs them.

    Its lease is never renewed: ControlPlane runs without the controller that would mind.
    """
    api.create("/api/v1/nodes", node.document())
    api.patch(f"/api/v1/nodes/{node.name}/status", {"status": node.status()}, STRATEGIC_PATCH)


def set_resources(api: Api, name: str, resources: Mapping[str, int]) -> None:
    """Change the amounts of some resources in capacity and allocatable, as a device plugin's kubelet does."""
    amounts = {resource: str(amount) for resource, amount in resources.items()}
    status = {"capacity": amounts, "allocatable": amounts}
    api.patch(f"/api/v1/nodes/{name}/status", {"status": status}, STRATEGIC_PATCH)


def delete_node(api: Api, name: str) -> None:
    """Remove the node object; its pods stay bound to it."""
    api.delete(f"/api/v1/nodes/{name}")
