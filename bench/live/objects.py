"""From a trace's nodes and pods to the API objects that stand for them on the simulated API server."""

from typing import Any

from bench.trace.reading import TracePod
from extender.contract.names import Names
from extender.scheduling.nodes.node import NodeRecord
from extender.scheduling.pods.request import PodRequest

Body = dict[str, Any]

NAMES = Names()
NAMESPACE = "default"


def node_body(record: NodeRecord) -> Body:
    """The Node with the inventory that its device plugin would publish."""
    inventory = record.inventory
    allocatable = {
        "cpu": f"{record.cpu_milli}m",
        "memory": str(record.memory_bytes),
        "pods": "1000",
        NAMES.memory_resource: str(record.memory_units or 0),
        NAMES.gpu_resource: str(record.whole_gpus or 0),
    }
    annotations = {NAMES.inventory_annotation: inventory.to_json()} if inventory is not None else {}
    return {
        "metadata": {"name": record.name, "annotations": annotations},
        "spec": {},
        "status": {"capacity": dict(allocatable), "allocatable": allocatable},
    }


def pod_body(name: str, pod: TracePod, request: PodRequest, *, node: str = "") -> Body:
    """The Pod that asks for the same; bound to `node` from the start where one is given."""
    asked = {"cpu": f"{request.cpu_milli}m", "memory": str(request.memory_bytes)}
    limits: dict[str, str] = {}
    if request.memory_units:
        limits[NAMES.memory_resource] = str(request.memory_units)
    if request.whole_gpus:
        limits[NAMES.gpu_resource] = str(request.whole_gpus)
    annotations = {NAMES.model_annotation: ",".join(pod.models)} if pod.models and limits else {}
    spec: Body = {"containers": [{"name": "main", "resources": {"requests": {**asked, **limits}, "limits": limits}}]}
    if node:
        spec["nodeName"] = node
    return {"metadata": {"name": name, "namespace": NAMESPACE, "annotations": annotations}, "spec": spec}
