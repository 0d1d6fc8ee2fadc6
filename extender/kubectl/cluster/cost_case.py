"""Turns a cluster into the case of a cost report.

Nodes without gpupack's inventory are read by what NVIDIA's device plugin offers there.
"""

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from extender.capacity.case import Case, CaseError, GpuPod
from extender.contract.cordon import BY_HAND
from extender.contract.inventory import Inventory
from extender.contract.units import CORE_PERCENT, UnitMib
from extender.kubectl.cluster.traits import constraints_of, node_traits, workload_of
from extender.kubectl.cluster.usage import PodKey
from extender.kubectl.cluster.view import ClusterView
from extender.kubectl.nvidia.gpus import NVIDIA_GPU, OfferedGpus, is_offering, offered_gpus
from extender.kubectl.nvidia.pods import asked_of_nvidia, combines_mig
from extender.scheduling.nodes.node import NodeRecord
from extender.scheduling.pods.request import ContainerRequest, PodRequest, pod_request

MemoryMib = Mapping[PodKey, int]
"""MiB of GPU memory that a pod really uses."""


def case_of(view: ClusterView, *, source: str, usage: MemoryMib | None = None) -> Case:
    """The case of a cluster.

    Args:
        view: nodes and pods; its whole-GPU resource is what stock pods ask for.
        source: for people.
        usage: pods that hold one whole GPU and use so much of it count as shares of that size where they are packed.

    Raises:
        CaseError: no GPU in it.
    """
    notes = list(view.warnings)
    records = []
    offered: dict[str, OfferedGpus] = {}
    for record in view.node_records:
        known = _with_gpus(record, view, offered, notes)
        if known is not None:
            records.append(known)
    if not records:
        why = "".join(f"; {note}" for note in notes)
        raise CaseError(f"{source}: no node with GPUs, expected an inventory annotation or NVIDIA's labels{why}")
    names = {record.name for record in records}
    stock = view.names.gpu_resource == NVIDIA_GPU and len(offered) == len(records)
    found: list[GpuPod] = []
    taken: dict[str, tuple[int, int]] = {}
    for pod in view.pod_records:
        name = f"{pod.namespace}/{pod.name}"
        body = view.pods.get(pod.uid)
        if pod.ended or body is None:
            continue
        request = pod.request
        if pod.node in offered or (stock and not pod.node):
            request = asked_of_nvidia(body, pod.cpu_milli, pod.memory_bytes, offered, view.unit_mib) or request
        if pod.request_error:
            notes.append(f"{name} was left out: {pod.request_error}")
        elif request is None:
            cpu_milli, memory_bytes = taken.get(pod.node, (0, 0))
            taken[pod.node] = (cpu_milli + pod.cpu_milli, memory_bytes + pod.memory_bytes)
        else:
            found.append(
                GpuPod(
                    name=name,
                    namespace=pod.namespace,
                    workload=workload_of(body),
                    asked=request,
                    request=_used(request, (usage or {}).get((pod.namespace, pod.name)), view.unit_mib),
                    node=pod.node if pod.node in names else "",
                    footprint=pod.footprint,
                    constraints=constraints_of(body, view.names),
                )
            )
    combined = sum(combines_mig(pod.request) for pod in found)
    if combined:
        notes.append(f"pods with several MIG devices in one container, which gpupack does not combine: {combined}")
    return Case(
        source=source,
        unit_mib=view.unit_mib,
        nodes=tuple(sorted(records, key=lambda record: record.name)),
        pods=tuple(found),
        taken=taken,
        notes=tuple(notes),
        placed=True,
        # The pods without GPUs are one sum here, so how many more a node takes is unknown.
        traits={name: replace(node_traits(view.nodes[name]), most_pods=None) for name in names},
    )


def read_usage(file: Path) -> MemoryMib:
    """The CSV `namespace,pod,memory_mib`: what pods that hold one whole GPU really use.

    Raises:
        CaseError: other columns, or no number.
        OSError: the file cannot be read.
    """
    with file.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    try:
        return {(row["namespace"], row["pod"]): int(float(row["memory_mib"])) for row in rows}
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise CaseError(f"{file.name}: {error}, expected the columns namespace,pod,memory_mib") from error


def _with_gpus(
    record: NodeRecord, view: ClusterView, offered: dict[str, OfferedGpus], notes: list[str]
) -> NodeRecord | None:
    body = view.nodes.get(record.name)
    if body is None:
        return None
    if record.inventory_error:
        notes.append(f"node {record.name} was left out: {record.inventory_error}")
        return None
    if record.inventory is not None:
        return _uncordoned(record, notes) if record.inventory.gpus else None
    labels, allocatable = body.metadata.labels or {}, body.status.allocatable or {}
    found = offered_gpus(record.name, labels, allocatable, resource=view.names.gpu_resource)
    if not found.gpus:
        if is_offering(labels, allocatable):
            notes.append(
                f"node {record.name} was left out: its labels and resources of NVIDIA name no GPU that is in service"
            )
        return None
    offered[record.name] = found
    if found.note:
        notes.append(found.note)
    return replace(
        record,
        inventory=Inventory(view.unit_mib, found.gpus),
        memory_units=sum(gpu.memory_mib // view.unit_mib for gpu in found.gpus),
        whole_gpus=len(found.gpus),
    )


def _uncordoned(record: NodeRecord, notes: list[str]) -> NodeRecord:
    """The node with its cordons by hand lifted: pods on those GPUs stay, and they are paid for."""
    inventory = record.inventory
    if inventory is None:
        return record
    cordoned = [gpu for gpu in inventory.gpus if not gpu.healthy and gpu.reason == BY_HAND]
    if not cordoned:
        return record
    places = ", ".join(f"{record.name}/{gpu.place}" for gpu in cordoned)
    notes.append(f"cordoned by hand, and counted as if in service: {places}")
    gpus = tuple(replace(gpu, healthy=True, reason="") if gpu in cordoned else gpu for gpu in inventory.gpus)
    return replace(
        record,
        inventory=replace(inventory, gpus=gpus),
        memory_units=record.memory_units or sum(map(inventory.units_of, cordoned)),
        whole_gpus=record.whole_gpus or len(cordoned),
        core_percent=record.core_percent or CORE_PERCENT * len(cordoned),
    )


def _used(request: PodRequest, used_mib: int | None, unit_mib: UnitMib) -> PodRequest:
    if not used_mib or request.whole_gpus != 1 or request.memory_units:
        return request
    share = ContainerRequest("main", memory_units=-(-used_mib // unit_mib))
    return pod_request((share,), models=request.models, cpu_milli=request.cpu_milli, memory_bytes=request.memory_bytes)
