"""Decodes the JSON of Kubernetes Node and Pod objects into the records of the ledger."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from sys import intern

import msgspec

from extender.contract.allocation import Allocation, parse_allocation
from extender.contract.inventory import parse_inventory
from extender.contract.names import Names
from extender.contract.quantity import parse_digits, parse_milli_quantity, parse_quantity
from extender.contract.units import ContractError, UnitMib
from extender.decoding.preferences import prefers
from extender.decoding.requests import Asked, Asking
from extender.kube.objects import (
    ABSENT,
    UNREADABLE,
    Condition,
    ContainerStatus,
    DecodeError,
    NodeObject,
    OwnerReference,
    PlacedMetadata,
    Pod,
    PodMetadata,
    PodStatus,
    read_node,
    read_placed_pod,
)
from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.nodes.node import NodeRecord
from extender.scheduling.pods.footprint import Footprint, footprint_of

MAX_PLACES = 4096
MAX_REFUSALS = 256
MAX_PLACE_CHARACTERS = 4096
"""Longer annotations are read each time, so that the cache is bounded in bytes as well."""


_decode_statuses = msgspec.json.Decoder(list[ContainerStatus] | None).decode
_decode_owners = msgspec.json.Decoder(list[OwnerReference] | None).decode
_decode_conditions = msgspec.json.Decoder(list[Condition] | None).decode
_NO_ANNOTATIONS: Mapping[str, str] = {}
_UNSCHEDULABLE = "Unschedulable:"


@dataclass(frozen=True, slots=True)
class _Place:
    """What a bound pod's annotations say of where it is."""

    footprint: Footprint | None = None
    policy: str = ""
    at: str = ""


_NOWHERE = _Place()


@dataclass(frozen=True, slots=True)
class Decoder:
    """Decodes for one installation's names and unit; `warn` is told of annotations that cannot be read.

    Safe to use from many threads.
    """

    names: Names
    unit_mib: UnitMib
    warn: Callable[[str], None] = lambda _message: None
    _asking: Asking = field(init=False, repr=False, compare=False)
    _planned: str = field(init=False, repr=False, compare=False)
    _actual: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_asking", Asking(self.names))
        object.__setattr__(self, "_planned", self.names.allocation_annotation)
        object.__setattr__(self, "_actual", self.names.allocated_annotation)

    def pod(self, raw: bytes | msgspec.Raw) -> PodRecord:
        """A pod of the watch.

        Raises:
            DecodeError: not a Pod.
        """
        return self.pod_record(read_placed_pod(raw))

    def node(self, raw: bytes | msgspec.Raw) -> NodeRecord:
        """A node of the watch.

        Raises:
            DecodeError: not a Node.
        """
        return self._node_record(read_node(raw))

    def pod_record(self, pod: Pod) -> PodRecord:
        """The record of a decoded pod; an invalid request becomes `request_error`.

        Raises:
            DecodeError: not a Pod where it was not looked at before.
        """
        try:
            return self._pod_record(pod)
        except UNREADABLE as error:
            raise DecodeError(f"Pod: {error}") from error

    def _pod_record(self, pod: Pod) -> PodRecord:
        metadata, spec, status = pod.metadata, pod.spec, pod.status
        annotations = metadata.annotations or _NO_ANNOTATIONS
        asked = self._asking.of(spec, annotations)
        bound = spec.node_name
        request = asked.charged if bound else asked.request
        place = self._place(metadata, annotations, asked) if bound and request else _NOWHERE
        failed = status is not None and status.phase == "Failed"
        refusal = "" if bound or status is None else _refusal(status)
        return PodRecord(
            uid=metadata.uid,
            namespace=metadata.namespace,
            name=metadata.name,
            resource_version=_version(metadata),
            node=bound,
            request=request,
            request_error=asked.error,
            footprint=place.footprint,
            cpu_milli=asked.cpu_milli,
            memory_bytes=asked.memory_bytes,
            priority=spec.priority or 0,
            ended=status is not None and _ended(pod, status),
            policy=place.policy,
            placed_at=place.at,
            scheduler=spec.scheduler_name,
            unschedulable=refusal.startswith(_UNSCHEDULABLE),
            refusal=refusal,
            claims_allocated=not bound and self._actual in annotations,
            prefers=not bound and prefers(spec),
            terminating=metadata.deletion_timestamp is not None,
            nominated_node=status.nominated_node_name if status is not None and not spec.scheduling_gates else "",
            owner=_controller(metadata) if request and (failed or not bound) else "",
            failure=(status.reason or "Error") if failed and status is not None else "",
            ran=failed and status is not None and _ran(status),
            started=(status.start_time or "") if bound and request and status is not None else "",
            labels=_labels(metadata) if bound and request else b"",
        )

    def _place(self, metadata: PodMetadata, annotations: Mapping[str, str], asked: Asked) -> _Place:
        planned, actual = annotations.get(self._planned, ""), annotations.get(self._actual, "")
        if not planned and not actual:
            return _NOWHERE
        read = _place_of if len(planned) + len(actual) <= MAX_PLACE_CHARACTERS else _place_of.__wrapped__
        try:
            return read(asked, self.unit_mib, planned, actual)
        except ContractError:
            # Rare; the annotation that can be read still counts.
            readable = [
                text if self._readable(metadata, annotation, text) else ""
                for annotation, text in ((self._planned, planned), (self._actual, actual))
            ]
            return read(asked, self.unit_mib, *readable)

    def _readable(self, metadata: PodMetadata, annotation: str, text: str) -> bool:
        try:
            _allocation(text)
        except ContractError as error:
            self.warn(f"pod {metadata.namespace}/{metadata.name}: annotation {annotation} is not used: {error}")
            return False
        return True

    def _node_record(self, node: NodeObject) -> NodeRecord:
        metadata = node.metadata
        allocatable = node.status.allocatable or {}
        text = (metadata.annotations or {}).get(self.names.inventory_annotation)
        inventory, error = None, ""
        if text is not None:
            try:
                inventory = parse_inventory(text)
            except ContractError as problem:
                error = str(problem)
                self.warn(f"node {metadata.name}: annotation {self.names.inventory_annotation} is not used: {error}")
        return NodeRecord(
            name=metadata.name,
            uid=metadata.uid,
            resource_version=_version(metadata),
            inventory=inventory,
            inventory_error=error,
            memory_units=_quantity(allocatable, self.names.memory_resource, parse_quantity),
            whole_gpus=_quantity(allocatable, self.names.gpu_resource, parse_quantity),
            core_percent=_quantity(allocatable, self.names.core_resource, parse_quantity),
            cpu_milli=_quantity(allocatable, "cpu", parse_milli_quantity) or 0,
            memory_bytes=_quantity(allocatable, "memory", parse_quantity) or 0,
        )


@lru_cache(MAX_PLACES)  # most are those of many pods
def _shared_labels(labels: bytes) -> bytes:
    return labels


def _labels(metadata: PlacedMetadata) -> bytes:
    if metadata.labels is ABSENT:
        return b""
    labels = bytes(metadata.labels)
    return _shared_labels(labels) if len(labels) <= MAX_PLACE_CHARACTERS else labels


@lru_cache(MAX_PLACES)  # a pod is shown several times with the same annotations
def _place_of(asked: Asked, unit_mib: UnitMib, planned: str, actual: str) -> _Place:
    request = asked.charged
    plan, given = _allocation(planned), _allocation(actual)
    return _Place(
        footprint_of(request, unit_mib, plan, given) if request else None,
        plan.policy if plan else "",
        plan.at if plan else "",
    )


def _allocation(text: str) -> Allocation | None:
    return parse_allocation(text) if text else None


def _version(metadata: PodMetadata) -> int:
    # Comparable integers within one resource since Kubernetes 1.35 (KEP-5504), and in fact ever since etcd3.
    text = metadata.resource_version
    version = parse_digits(text)
    if version is None:
        raise DecodeError(f"{metadata.namespace}/{metadata.name}: resourceVersion is {text!r}, expected a number")
    return version


def _quantity(quantities: Mapping[str, str | int | float], name: str, parse: Callable[[str], int]) -> int | None:
    value = quantities.get(name)
    if value is None:
        return None
    try:
        return parse(str(value))
    except ContractError:
        return None


def _ended(pod: Pod, status: PodStatus) -> bool:
    if status.phase in {"Succeeded", "Failed"}:
        return True
    if pod.metadata.deletion_timestamp is None:
        return False
    # Terminating pods hold their memory until every container has stopped, as the kubelet's own account does.
    return _all_stopped(status.container_statuses, len(pod.spec.containers)) and _all_stopped(
        status.init_container_statuses, len(pod.spec.init_containers or ())
    )


def _ran(status: PodStatus) -> bool:
    """Whether the kubelet started any container; one that it never started may be shown as waiting or not at all."""
    known = [
        *(_decode_statuses(status.init_container_statuses) or ()),
        *(_decode_statuses(status.container_statuses) or ()),
    ]
    return any(one.container_id for one in known)


def _controller(metadata: PlacedMetadata) -> str:
    if metadata.owner_references is ABSENT:
        return ""
    owners = _decode_owners(metadata.owner_references) or ()
    return next((intern(owner.uid) for owner in owners if owner.controller), "")


def _all_stopped(statuses: msgspec.Raw, containers: int) -> bool:
    known = _decode_statuses(statuses) or ()
    stopped = [one for one in known if one.state is not None and one.state.terminated is not None]
    return len(stopped) == containers


@lru_cache(MAX_REFUSALS)  # many pods are refused in the same words
def _shared(text: str) -> str:
    return text


def _refusal(status: PodStatus) -> str:
    if status.conditions is ABSENT:
        return ""
    for one in _decode_conditions(status.conditions) or ():
        if one.type == "PodScheduled" and one.status == "False":
            return _shared(f"{one.reason}: {one.message}")
    return ""
