"""ClusterViews made of Node and Pod objects, for the tests of the commands that read them."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from extender.contract.names import Names
from extender.kubectl.cluster.view import ClusterView, view_of
from tests.extender.objects import allocation, node, pod, raw, uuid

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
Json = dict[str, Any]


def view(nodes: Iterable[Json], pods: Iterable[Json] = (), *, names: Names | None = None) -> ClusterView:
    """What kubectl gpupack makes of these objects."""
    return view_of(map(raw, nodes), map(raw, pods), names=names or Names(), taken_at=NOON)


def placed(
    name: str, units: int, node_name: str, index: int = 0, *, deployment: str = "", namespace: str = "default"
) -> Json:
    """A running pod on one GPU of a node; of a Deployment, or bare."""
    plan = allocation({"main": {uuid(node_name, index): units}})
    body = pod(name, units, node=node_name, annotations={"allocation": plan}, status={"phase": "Running"})
    body["metadata"]["namespace"] = namespace
    if deployment:
        owner = {"kind": "ReplicaSet", "name": f"{deployment}-abc", "controller": True}
        body["metadata"].update(ownerReferences=[owner], labels={"pod-template-hash": "abc"})
    return body


__all__ = ["Json", "allocation", "node", "placed", "pod", "raw", "uuid", "view"]
