"""Short ways to write down Pods and Nodes as the API server sends them."""

import json
from collections.abc import Container, Iterable, Mapping
from typing import Any

from bench.simulated.specs import GpuSpec, MachineSpec
from extender.contract.inventory import Inventory, InventoryGpu
from extender.contract.names import Names
from extender.contract.units import GpuUuid, UnitMib

UNIT_MIB = UnitMib(1024)
T4 = "Tesla T4"
A100 = "NVIDIA A100-SXM4-80GB"
Json = dict[str, Any]


def raw(body: object) -> bytes:
    """As it comes over the network."""
    return json.dumps(body).encode()


def container(
    name: str = "main", mem: object = None, *, gpus: object = None, core: object = None, **requests: object
) -> Json:
    """A container with limits of gpu-mem, gpu and gpu-core, and requests such as cpu="1"."""
    asked = {"gpupack.io/gpu-mem": mem, "gpupack.io/gpu": gpus, "gpupack.io/gpu-core": core}
    limits = {key: value for key, value in asked.items() if value is not None}
    return {"name": name, "image": "none", "resources": {"limits": limits, "requests": {**limits, **requests}}}


def sidecar(name: str, mem: object = None, **requests: object) -> Json:
    """A restartable init container."""
    return {**container(name, mem, **requests), "restartPolicy": "Always"}


def pod(
    name: str,
    mem: object = None,
    *,
    gpus: object = None,
    core: object = None,
    uid: str = "",
    version: int = 1,
    node: str = "",
    annotations: Mapping[str, str] | None = None,
    containers: Iterable[Json] = (),
    init: Iterable[Json] = (),
    status: Json | None = None,
    deleting: bool = False,
    **spec: object,
) -> Json:
    """A pod with one container `main`, unless `containers` are given; annotations without their prefix."""
    metadata: Json = {
        "name": name,
        "namespace": "default",
        "uid": uid or f"uid-{name}",
        "resourceVersion": str(version),
        "annotations": {f"gpupack.io/{key}": value for key, value in (annotations or {}).items()},
    }
    if deleting:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    body: Json = {"containers": list(containers) or [container("main", mem, gpus=gpus, core=core)], **spec}
    if init:
        body["initContainers"] = list(init)
    if node:
        body["nodeName"] = node
    return {"metadata": metadata, "spec": body, "status": status or {"phase": "Pending"}}


def uuid(node: str, index: int) -> GpuUuid:
    """UUID of a GPU of a node made by `node`."""
    return GpuUuid(f"GPU-{node}-{index}")


def node(
    name: str,
    *units: int,
    version: int = 1,
    model: str = T4,
    unhealthy: Container[str] = (),
    annotations: Mapping[str, str] | None = None,
    **allocatable: object,
) -> Json:
    """A node with GPUs of so many units of 1 GiB, whose device plugin offers all of them."""
    gpus = tuple(
        InventoryGpu(uuid(name, at), at, model, size * UNIT_MIB, healthy=uuid(name, at) not in unhealthy)
        for at, size in enumerate(units)
    )
    own = {"inventory": Inventory(UNIT_MIB, gpus).to_json()} if units else {}
    offered = (
        {
            "gpupack.io/gpu-mem": str(sum(units)),
            "gpupack.io/gpu": str(len(units)),
            "gpupack.io/gpu-core": str(100 * len(units)),
        }
        if units
        else {}
    )
    return {
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "resourceVersion": str(version),
            "annotations": {f"gpupack.io/{key}": value for key, value in {**own, **(annotations or {})}.items()},
        },
        "status": {"allocatable": {"cpu": "64", "memory": "512Gi", **offered, **allocatable}},
    }


def allocation(containers: Mapping[str, Mapping[str, int]], unit_mib: int = UNIT_MIB, policy: str = "") -> str:
    """The text of an allocation annotation."""
    return json.dumps({"version": 1, "unitMib": unit_mib, "containers": containers, "policy": policy})


def filter_call(pod_json: Json, names: Iterable[str]) -> bytes:
    """A filter or prioritize call with node names."""
    return raw({"Pod": pod_json, "Nodes": None, "NodeNames": list(names)})


def bind_call(name: str, node_name: str, *, uid: str = "", namespace: str = "default") -> bytes:
    """A bind call."""
    return raw({"PodName": name, "PodNamespace": namespace, "PodUID": uid or f"uid-{name}", "Node": node_name})


def mixed_node(name: str, profiles: tuple[str, ...] = ("3g.40gb", "1g.10gb", "1g.10gb"), **annotations: str) -> Json:
    """A node with an A100 and another one in MIG devices of 39, 9 and 9 units; annotations without their prefix."""
    spec = MachineSpec(name, (GpuSpec(A100, 81920), GpuSpec(A100, 81920, mig=profiles)))
    body = spec.hollow_node_object(Names())
    body["metadata"] |= {"uid": f"uid-{name}", "resourceVersion": "1"}
    body["metadata"]["annotations"] |= {f"gpupack.io/{key}": value for key, value in annotations.items()}
    return body
