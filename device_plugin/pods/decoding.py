"""Turns the API server's pods and nodes into the values that this node needs.

Annotations that cannot be read count as absent: a tenant's nonsense must not hide a pod.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from posixpath import normpath
from typing import Any

from device_plugin.gpus.conflicts import CLAIM, may_give_gpus
from device_plugin.pods.pod import BoundPod, ContainerNeed, Placement
from extender.contract.allocation import parse_allocation
from extender.contract.containers import ContainerKind
from extender.contract.names import Names
from extender.contract.quantity import parse_digits, parse_quantity
from extender.contract.units import ContractError, UnitMib
from extender.kube.objects import (
    ContainerArguments,
    PodObject,
    PodObjectSpec,
    PodObjectStatus,
    Quantities,
    read_document,
    read_node,
    read_pod,
)

_SHM = "/dev/shm"  # noqa: S108 - a path in containers


@dataclass(frozen=True, slots=True)
class NodeNotes:
    """What the plugin reads of its Node.

    Args:
        name: of the Node.
        uid: of the Node.
        inventory: that annotation, or None.
        cordon: that annotation, or None.
        version: its resourceVersion.
        taints: as JSON objects, so that those that are kept can be written back as they are.
        offered: how much of each of our resources the kubelet shows as allocatable.
    """

    name: str
    uid: str
    inventory: str | None
    cordon: str | None = None
    version: str = ""
    taints: tuple[Mapping[str, Any], ...] = ()
    offered: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DecodedPod:
    """A pod, and what could not be read of it (and counts as absent).

    `givers` are what else may give it GPUs: resources of other device plugins, and claims.
    """

    pod: BoundPod
    problems: tuple[str, ...] = ()
    givers: frozenset[str] = frozenset()


def decode_node(body: bytes, names: Names) -> NodeNotes:
    """A Node.

    Raises:
        DecodeError: not a Node.
    """
    node = read_node(body)
    metadata = node.metadata
    return NodeNotes(
        metadata.name,
        metadata.uid,
        metadata.annotation(names.inventory_annotation),
        metadata.annotation(names.cordon_annotation),
        version=metadata.resource_version,
        taints=tuple(read_document(body)["spec"]["taints"]) if node.spec.taints else (),
        offered=_offered(node.status.allocatable or {}, names),
    )


def _offered(allocatable: Quantities, names: Names) -> dict[str, int]:
    found = {}
    for resource in (names.memory_resource, names.gpu_resource, names.core_resource):
        with suppress(ContractError):
            if resource in allocatable:
                found[resource] = parse_quantity(str(allocatable[resource]))
    return found


def decode_pod(body: bytes, names: Names, unit_mib: UnitMib) -> DecodedPod:
    """A Pod; its `needs` are empty when it asks for none of our resources.

    Raises:
        DecodeError: not a Pod.
    """
    pod: PodObject = read_pod(body)
    metadata, status = pod.metadata, pod.status
    problems: list[str] = []
    needs = [_need(each, _init_kind(each), names, problems) for each in pod.spec.init_containers or ()]
    needs += [_need(each, ContainerKind.APP, names, problems) for each in pod.spec.containers]
    plan, bound_at = _placement(metadata.annotation(names.allocation_annotation), unit_mib, problems)
    allocated, _ = _placement(metadata.annotation(names.allocated_annotation), unit_mib, problems)
    bound = BoundPod(
        uid=metadata.uid,
        namespace=metadata.namespace,
        name=metadata.name,
        needs=tuple(need for need in needs if need.memory_units or need.whole_gpus),
        gpu_count=_gpu_count(metadata.annotation(names.count_annotation) or "1"),
        gpu_model=metadata.annotation(names.model_annotation) or "",
        plan=plan,
        allocated=allocated,
        version=parse_digits(metadata.resource_version) or 0,
        bound_at=bound_at,
        created_at=metadata.creation_timestamp or "",
        admitted=bool(status.start_time) or status.phase == "Running",
        ended=status.phase in ("Succeeded", "Failed"),
        terminating=metadata.deletion_timestamp is not None,
        killed_at_s=_unix_s(metadata.deletion_timestamp),
        container_ids=_container_ids(status),
    )
    return DecodedPod(bound, tuple(problems), _givers(pod.spec, names))


def _givers(spec: PodObjectSpec, names: Names) -> frozenset[str]:
    ours = {names.memory_resource, names.gpu_resource, names.core_resource}
    limits = [each.resources.limits for each in (*spec.containers, *(spec.init_containers or ())) if each.resources]
    asked = {resource for found in limits for resource in found or () if resource not in ours}
    givers = {resource for resource in asked if may_give_gpus(resource)}
    return frozenset(givers | ({CLAIM} if spec.resource_claims else set()))


def _container_ids(status: PodObjectStatus) -> dict[str, str]:
    """Names of containers by the runtime's ID, `containerd://<id>` without the scheme."""
    lists = (status.init_container_statuses, status.container_statuses, status.ephemeral_container_statuses)
    found = [each for statuses in lists for each in statuses or ()]
    return {each.container_id.rpartition("/")[2]: each.name for each in found if each.container_id}


def _unix_s(text: str | None) -> float | None:
    """An RFC 3339 time of the API server as Unix time; None without one, or when it cannot be read."""
    try:
        return None if text is None else datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def _gpu_count(text: str) -> int:
    """The gpu-count annotation; one GPU when it is invalid, since the extender binds no such pod."""
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 6 else 1


def _init_kind(container: ContainerArguments) -> ContainerKind:
    return ContainerKind.SIDECAR if container.restart_policy == "Always" else ContainerKind.INIT


def _need(container: ContainerArguments, kind: ContainerKind, names: Names, problems: list[str]) -> ContainerNeed:
    limits = (container.resources.limits if container.resources else None) or {}
    amounts = {}
    for resource in (names.memory_resource, names.gpu_resource, names.core_resource):
        try:
            amounts[resource] = parse_quantity(str(limits.get(resource, 0)))
        except ContractError as error:
            problems.append(f"container {container.name}, limit of {resource}: {error}")
            amounts[resource] = 0
    return ContainerNeed(
        container.name,
        kind,
        amounts[names.memory_resource],
        amounts[names.gpu_resource],
        amounts[names.core_resource],
        hides_shm=any(_in_container(mount.mount_path) == _SHM for mount in container.volume_mounts or ()),
    )


def _in_container(path: str) -> str:
    """Where a volume is mounted: the kubelet takes a relative path from the root, and two slashes are one to it."""
    return normpath("/" + path.lstrip("/"))


def _placement(text: str | None, unit_mib: UnitMib, problems: list[str]) -> tuple[Placement, str]:
    """An allocation annotation's containers and time; empty when it is absent, invalid or in another unit."""
    if text is None:
        return {}, ""
    try:
        allocation = parse_allocation(text)
    except ContractError as error:
        problems.append(str(error))
        return {}, ""
    if allocation.unit_mib != unit_mib:
        problems.append(f"allocation: unitMib is {allocation.unit_mib}, expected {unit_mib}")
        return {}, ""
    return allocation.containers, allocation.at
