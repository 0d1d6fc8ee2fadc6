"""From `kubectl get nodes,pods -A -o json` to a case, decoded as the extender does it.

Nodes of a cluster without gpupack are read by NVIDIA's labels (`nvidia.com/gpu.product`, `.memory`, `.count`), which
GPU feature discovery sets.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from extender.capacity.case import Case, CaseError, GpuPod
from extender.contract.inventory import Inventory, InventoryGpu
from extender.contract.names import Names
from extender.contract.units import DEFAULT_UNIT_MIB, GpuUuid, UnitMib
from extender.decoding import DecodeError, Decoder
from extender.scheduling.node import NodeRecord
from extender.scheduling.request import ContainerRequest, PodRequest, pod_request

Body = Mapping[str, Any]
Usage = Mapping[tuple[str, str], int]
"""MiB of GPU memory that a pod really uses, by namespace and name."""

_NVIDIA = "nvidia.com/gpu"


def case_of_dump(text: str | bytes, *, source: str, names: Names, usage: Usage | None = None) -> Case:
    """The case that a dump describes.

    Args:
        text: a v1 List of Nodes and Pods.
        source: for people.
        names: the installation's names; its whole-GPU resource is what stock pods ask for.
        usage: pods that hold one whole GPU and use so much of it count as shares of that size where they are packed.

    Raises:
        CaseError: no such list, or no GPU in it.
    """
    nodes, pods = _items(text)
    unit_mib = _unit_of(nodes, names)
    decoder = Decoder(names, unit_mib)
    notes: list[str] = []
    records = [record for body in nodes if (record := _node(body, decoder, unit_mib, names, notes)) is not None]
    if not records:
        raise CaseError(f"{source}: no node with GPUs, expected an inventory annotation or NVIDIA's labels")
    known = {record.name for record in records}
    found: list[GpuPod] = []
    taken: dict[str, tuple[int, int]] = {}
    for body in pods:
        try:
            pod = decoder.pod(_raw(body))
        except DecodeError as error:
            notes.append(f"a pod was left out: {error}")
            continue
        name = f"{pod.namespace}/{pod.name}"
        if pod.ended:
            continue
        if pod.request_error:
            notes.append(f"{name} was left out: {pod.request_error}")
        elif pod.request is None:
            cpu_milli, memory_bytes = taken.get(pod.node, (0, 0))
            taken[pod.node] = (cpu_milli + pod.cpu_milli, memory_bytes + pod.memory_bytes)
        else:
            node = pod.node if pod.node in known else ""
            request = _used(pod.request, (usage or {}).get((pod.namespace, pod.name)), unit_mib)
            found.append(GpuPod(name, pod.namespace, _workload(body), pod.request, request, node, pod.footprint))
    ordered = tuple(sorted(records, key=lambda record: record.name))
    return Case(source, unit_mib, ordered, tuple(found), taken, tuple(notes), placed=True)


def _items(text: str | bytes) -> tuple[list[Body], list[Body]]:
    try:
        items = json.loads(text)["items"]
        kinds = [(item["kind"], item) for item in items]
    except (ValueError, KeyError, TypeError) as error:
        raise CaseError("the dump is no list of objects, expected `kubectl get nodes,pods -A -o json`") from error
    return [item for kind, item in kinds if kind == "Node"], [item for kind, item in kinds if kind == "Pod"]


def _raw(body: Body) -> bytes:
    return json.dumps(body).encode()


def _unit_of(nodes: Iterable[Body], names: Names) -> UnitMib:
    """The unit that most inventories have."""
    units: Counter[int] = Counter()
    for body in nodes:
        text = (body["metadata"].get("annotations") or {}).get(names.inventory_annotation)
        if text:
            try:
                units[int(json.loads(text)["unitMib"])] += 1
            except (ValueError, KeyError, TypeError):
                continue  # the decoder says what is wrong with it
    return UnitMib(units.most_common(1)[0][0]) if units else DEFAULT_UNIT_MIB


def _node(body: Body, decoder: Decoder, unit_mib: UnitMib, names: Names, notes: list[str]) -> NodeRecord | None:
    try:
        record = decoder.node(_raw(body))
    except DecodeError as error:
        notes.append(f"a node was left out: {error}")
        return None
    if record.inventory_error:
        notes.append(f"node {record.name} was left out: {record.inventory_error}")
        return None
    if record.inventory is not None:
        return replace(record, resource_version=1) if record.inventory.gpus else None
    inventory = _labelled(body, names)
    if inventory is None:
        return None
    return replace(
        record,
        resource_version=1,
        inventory=Inventory(unit_mib, inventory),
        memory_units=sum(gpu.memory_mib // unit_mib for gpu in inventory),
        whole_gpus=len(inventory),
    )


def _labelled(body: Body, names: Names) -> tuple[InventoryGpu, ...] | None:
    labels = body["metadata"].get("labels") or {}
    allocatable = (body.get("status") or {}).get("allocatable") or {}
    try:
        count = int(allocatable.get(names.gpu_resource, allocatable.get(_NVIDIA, 0)))
        memory_mib = int(labels.get(f"{_NVIDIA}.memory", 0))
    except ValueError:
        return None
    if not count or not memory_mib:
        return None
    model = labels.get(f"{_NVIDIA}.product", "").replace("-", " ")
    name = body["metadata"]["name"]
    return tuple(InventoryGpu(GpuUuid(f"{name[:40]}-gpu-{at}"), at, model, memory_mib) for at in range(count))


def _used(request: PodRequest, used_mib: int | None, unit_mib: UnitMib) -> PodRequest:
    if not used_mib or request.whole_gpus != 1 or request.memory_units:
        return request
    share = ContainerRequest("main", memory_units=-(-used_mib // unit_mib))
    return pod_request((share,), models=request.models, cpu_milli=request.cpu_milli, memory_bytes=request.memory_bytes)


def _workload(body: Body) -> str:
    """The `app` label, else the kind of owner, else Pod."""
    metadata = body["metadata"]
    labels = metadata.get("labels") or {}
    owners = metadata.get("ownerReferences") or [{}]
    return str(labels.get("app.kubernetes.io/name") or labels.get("app") or owners[0].get("kind") or "Pod")
