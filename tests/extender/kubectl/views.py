"""Short ways to a ClusterView: nodes and pods as the API server sends them, at a time that stands still."""

from collections.abc import Iterable
from datetime import UTC, datetime

from extender.contract.names import Names
from extender.kubectl.cluster.view import ClusterView, view_of
from extender.kubectl.explaining.node_verdict import Asker, asker_of
from tests.extender.objects import Json, allocation, pod, raw

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def view(nodes: Iterable[Json] = (), pods: Iterable[Json] = ()) -> ClusterView:
    """The view of these objects."""
    return view_of(map(raw, nodes), map(raw, pods), names=Names(), taken_at=NOON)


def on(name: str, units: int, gpu: str, node: str, *, version: int = 1, policy: str = "") -> Json:
    """A running pod that holds `units` of one GPU."""
    plan = allocation({"main": {gpu: units}})
    if policy:
        plan = plan.removesuffix("}") + f', "policy": "{policy}", "at": "2026-01-31T11:00:00Z"}}'
    body = pod(name, units, node=node, version=version, annotations={"allocation": plan})
    return {**body, "status": {"phase": "Running"}}


def refused(body: Json, message: str, reason: str = "Unschedulable") -> Json:
    """The pod as kube-scheduler leaves it when it fits nowhere."""
    condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
    return {**body, "status": {"phase": "Pending", "conditions": [condition]}}


def component(name: str, kind: str, *, node: str = "n1", ready: bool = True, **spec: object) -> Json:
    """A pod of gpupack itself."""
    return {
        "metadata": {
            "name": name,
            "namespace": "gpupack-system",
            "uid": f"uid-{name}",
            "resourceVersion": "1",
            "labels": {"app.kubernetes.io/name": "gpupack", "app.kubernetes.io/component": kind},
        },
        "spec": {"containers": [{"name": kind}], "nodeName": node, **spec},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True" if ready else "False"}]},
    }


def offering(body: Json, units: int | None) -> Json:
    """The node as its kubelet offers so many units (and as many GPUs as long as it is not 0); None for none at all."""
    amounts = {} if units is None else {"gpupack.io/gpu-mem": str(units), "gpupack.io/gpu": str(min(1, units))}
    kept = {key: text for key, text in body["status"]["allocatable"].items() if not key.startswith("gpupack.io/")}
    return {**body, "status": {**body["status"], "allocatable": {**kept, **amounts}}}


def asker(seen: ClusterView, name: str = "waits") -> Asker:
    """A pod of the view as one that looks for a place."""
    record = seen.find("default", name)
    assert record is not None
    assert record.request is not None
    return asker_of(seen, record, record.request)
