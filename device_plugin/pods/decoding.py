"""From the API server's JSON to BoundPod and NodeNotes values; only the fields that the node needs are read."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from device_plugin.gpus.conflicts import CLAIM, may_give_gpus
from device_plugin.pods.pod import BoundPod, ContainerKind, ContainerNeed, Placement
from extender.contract.allocation import parse_allocation
from extender.contract.names import Names
from extender.contract.quantity import parse_quantity
from extender.contract.units import ContractError, UnitMib


class DecodingError(ValueError):
    """The API server's JSON has not the form of Kubernetes; the message says where."""


class _Struct(msgspec.Struct, rename="camel", gc=False):
    """Kubernetes' field names are our own in camel case."""


class _Metadata(_Struct):
    name: str
    uid: str = ""
    namespace: str = ""
    annotations: dict[str, str] | None = None
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None


class _Resources(_Struct):
    limits: dict[str, str | int] | None = None


class _Container(_Struct):
    name: str
    resources: _Resources | None = None
    restart_policy: str | None = None


class _Claim(_Struct):
    name: str = ""


class _PodSpec(_Struct):
    containers: list[_Container] = msgspec.field(default_factory=list)
    init_containers: list[_Container] | None = None
    resource_claims: list[_Claim] | None = None


class _ContainerStatus(_Struct):
    name: str = ""
    container_id: str | None = msgspec.field(default=None, name="containerID")


class _PodStatus(_Struct):
    phase: str | None = None
    start_time: str | None = None
    container_statuses: list[_ContainerStatus] | None = None
    init_container_statuses: list[_ContainerStatus] | None = None
    ephemeral_container_statuses: list[_ContainerStatus] | None = None


class _Pod(_Struct):
    metadata: _Metadata
    spec: _PodSpec
    status: _PodStatus | None = None


class _Node(_Struct):
    metadata: _Metadata


class _ListMetadata(_Struct):
    resource_version: str = ""
    continue_: str | None = msgspec.field(default=None, name="continue")


class _List(_Struct):
    metadata: _ListMetadata
    items: list[msgspec.Raw] | None = None


class _Event(_Struct):
    type: str
    object: msgspec.Raw


class _Status(_Struct):
    code: int = 0
    message: str | None = None
    metadata: _ListMetadata = msgspec.field(default_factory=_ListMetadata)


_POD = msgspec.json.Decoder(_Pod)
_NODE = msgspec.json.Decoder(_Node)
_LIST = msgspec.json.Decoder(_List)
_EVENT = msgspec.json.Decoder(_Event)
_STATUS = msgspec.json.Decoder(_Status)


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list: its objects' JSON, the version of the whole, and the token of the next page or empty."""

    items: tuple[bytes, ...]
    version: str
    more: str


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One event: ADDED, MODIFIED, DELETED, BOOKMARK or ERROR, and the object's JSON."""

    kind: str
    body: bytes


@dataclass(frozen=True, slots=True)
class NodeNotes:
    """What the plugin reads of its Node: who it is, and the texts of the inventory and cordon annotations or None."""

    name: str
    uid: str
    inventory: str | None
    cordon: str | None = None


@dataclass(frozen=True, slots=True)
class DecodedPod:
    """A pod, and what could not be read of it (it is then taken as absent).

    `givers` are what may give it GPUs beside us: resources of other device plugins, and claims.
    """

    pod: BoundPod
    problems: tuple[str, ...] = ()
    givers: frozenset[str] = frozenset()


def decode_page(body: bytes) -> Page:
    """A list answer.

    Raises:
        DecodingError: not a Kubernetes list.
    """
    page = _decode(_LIST, body)
    items = tuple(bytes(item) for item in page.items or ())
    return Page(items, page.metadata.resource_version, page.metadata.continue_ or "")


def decode_event(line: bytes) -> WatchEvent:
    """One line of a watch.

    Raises:
        DecodingError: not a watch event.
    """
    event = _decode(_EVENT, line)
    return WatchEvent(event.type, bytes(event.object))


def decode_status(body: bytes) -> tuple[int, str]:
    """Code and message of a Status object; 0 and the raw text where it is none."""
    try:
        status: _Status = _decode(_STATUS, body)
    except DecodingError:
        return 0, body[:200].decode(errors="replace")
    return status.code, status.message or ""


def decode_version(body: bytes) -> str:
    """ResourceVersion of any object.

    Raises:
        DecodingError: not a Kubernetes object.
    """
    found: _Status = _decode(_STATUS, body)
    return found.metadata.resource_version


def decode_node(body: bytes, names: Names) -> NodeNotes:
    """A Node.

    Raises:
        DecodingError: not a Node.
    """
    metadata = _decode(_NODE, body).metadata
    annotations = metadata.annotations or {}
    return NodeNotes(
        metadata.name,
        metadata.uid,
        annotations.get(names.inventory_annotation),
        annotations.get(names.cordon_annotation),
    )


def decode_pod(body: bytes, names: Names, unit_mib: UnitMib) -> DecodedPod:
    """A Pod; its `needs` are empty when it asks for none of our resources.

    Raises:
        DecodingError: not a Pod.
    """
    pod: _Pod = _decode(_POD, body)
    metadata, status = pod.metadata, pod.status or _PodStatus()
    annotations = metadata.annotations or {}
    problems: list[str] = []
    needs = [_need(each, _init_kind(each), names, problems) for each in pod.spec.init_containers or ()]
    needs += [_need(each, ContainerKind.APP, names, problems) for each in pod.spec.containers]
    plan, bound_at = _placement(annotations.get(names.allocation_annotation), unit_mib, problems)
    allocated, _ = _placement(annotations.get(names.allocated_annotation), unit_mib, problems)
    bound = BoundPod(
        uid=metadata.uid,
        namespace=metadata.namespace,
        name=metadata.name,
        needs=tuple(need for need in needs if need.memory_units or need.whole_gpus),
        gpu_count=_gpu_count(annotations.get(names.count_annotation, "1")),
        plan=plan,
        allocated=allocated,
        version=int(metadata.resource_version) if metadata.resource_version.isdigit() else 0,
        bound_at=bound_at,
        created_at=metadata.creation_timestamp or "",
        admitted=bool(status.start_time) or status.phase == "Running",
        ended=status.phase in ("Succeeded", "Failed"),
        terminating=metadata.deletion_timestamp is not None,
        killed_at_s=_unix_s(metadata.deletion_timestamp),
        container_ids=_container_ids(status),
    )
    return DecodedPod(bound, tuple(problems), _givers(pod.spec, names))


def _givers(spec: _PodSpec, names: Names) -> frozenset[str]:
    ours = {names.memory_resource, names.gpu_resource, names.core_resource}
    limits = [each.resources.limits for each in (*spec.containers, *(spec.init_containers or ())) if each.resources]
    asked = {resource for found in limits for resource in found or () if resource not in ours}
    givers = {resource for resource in asked if may_give_gpus(resource)}
    return frozenset(givers | ({CLAIM} if spec.resource_claims else set()))


def _container_ids(status: _PodStatus) -> dict[str, str]:
    """Names of containers by the runtime's ID, `containerd://<id>` without its scheme."""
    lists = (status.init_container_statuses, status.container_statuses, status.ephemeral_container_statuses)
    found = [each for statuses in lists for each in statuses or ()]
    return {each.container_id.rpartition("/")[2]: each.name for each in found if each.container_id}


def _unix_s(text: str | None) -> float | None:
    """An RFC 3339 time of the API server; None without one, or where it cannot be read."""
    try:
        return None if text is None else datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def _gpu_count(text: str) -> int:
    """The gpu-count annotation; one GPU where it means nothing, since the extender binds no such pod."""
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 6 else 1


def _init_kind(container: _Container) -> ContainerKind:
    return ContainerKind.SIDECAR if container.restart_policy == "Always" else ContainerKind.INIT


def _need(container: _Container, kind: ContainerKind, names: Names, problems: list[str]) -> ContainerNeed:
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
    )


def _placement(text: str | None, unit_mib: UnitMib, problems: list[str]) -> tuple[Placement, str]:
    """An allocation annotation's containers and time; nothing when absent, unreadable or in another unit."""
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


def _decode(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise DecodingError(f"the API server's JSON: {error}") from error
