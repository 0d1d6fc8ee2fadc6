"""From the JSON of Kubernetes Node and Pod objects to the ledger's records; the API's field names live here only.

Fields that are not named here are skipped without being decoded. Effective requests follow the kubelet and
kube-scheduler (k8s.io/component-helpers/resource, PodRequests): max over init containers of (it + sidecars before it)
against all app containers + all sidecars, per resource.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from extender.contract.allocation import Allocation, parse_allocation
from extender.contract.inventory import parse_inventory
from extender.contract.names import Names
from extender.contract.quantity import parse_milli_quantity, parse_quantity
from extender.contract.units import ContractError, UnitMib
from extender.scheduling.events import PodRecord
from extender.scheduling.footprint import footprint_of
from extender.scheduling.models import ANY_MODEL, RequestError, parse_models
from extender.scheduling.node import NodeRecord
from extender.scheduling.policies.table import policy_named
from extender.scheduling.request import ContainerKind, ContainerRequest, PodRequest, pod_request

Quantities = dict[str, str | int | float]


class _Camel(msgspec.Struct, rename="camel", gc=False):
    """Base of the API's objects."""


class Resources(_Camel):
    """ResourceRequirements."""

    limits: Quantities | None = None
    requests: Quantities | None = None


class Container(_Camel):
    """Container; `restart_policy` Always makes an init container a sidecar."""

    name: str = ""
    resources: Resources | None = None
    restart_policy: str | None = None


class Metadata(_Camel):
    """ObjectMeta."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    deletion_timestamp: str | None = None
    annotations: dict[str, str] | None = None


class PodSpec(_Camel):
    """PodSpec."""

    containers: list[Container] = []
    init_containers: list[Container] | None = None
    node_name: str = ""
    scheduler_name: str = ""
    priority: int | None = None
    overhead: Quantities | None = None
    resources: Resources | None = None


class Terminated(_Camel):
    """ContainerStateTerminated; that it is there is all that counts."""


class ContainerState(_Camel):
    """ContainerState; present fields say which state it is."""

    terminated: Terminated | None = None


class ContainerStatus(_Camel):
    """ContainerStatus."""

    state: ContainerState | None = None


class Condition(_Camel):
    """PodCondition."""

    type: str = ""
    status: str = ""
    reason: str = ""


class PodStatus(_Camel):
    """PodStatus."""

    phase: str = ""
    container_statuses: list[ContainerStatus] | None = None
    init_container_statuses: list[ContainerStatus] | None = None
    conditions: list[Condition] | None = None
    nominated_node_name: str = ""


class Pod(_Camel):
    """Pod."""

    metadata: Metadata
    spec: PodSpec
    status: PodStatus | None = None


class NodeStatus(_Camel):
    """NodeStatus."""

    allocatable: Quantities | None = None


class Node(_Camel):
    """Node."""

    metadata: Metadata
    status: NodeStatus | None = None


class _Identity(_Camel):
    uid: str = ""


class _Identified(_Camel):
    metadata: _Identity


class DecodeError(ValueError):
    """Bytes that are not the Kubernetes object that they should be."""


UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for malformed or mistyped JSON, for bytes that are not UTF-8, and for absurd nesting."""

_pod_decoder = msgspec.json.Decoder(Pod)
_identity_decoder = msgspec.json.Decoder(_Identified)
_node_decoder = msgspec.json.Decoder(Node)


@dataclass(frozen=True, slots=True)
class Decoder:
    """Decodes for one installation's names and unit; `warn` is told of annotations that cannot be read."""

    names: Names
    unit_mib: UnitMib
    warn: Callable[[str], None] = lambda _message: None

    def pod(self, raw: bytes | msgspec.Raw) -> PodRecord:
        """A pod of the watch.

        Raises:
            DecodeError: not a Pod.
        """
        try:
            return self.pod_record(_pod_decoder.decode(raw))
        except UNREADABLE as error:
            raise DecodeError(f"Pod: {error}") from error

    def uid(self, raw: bytes | msgspec.Raw) -> str:
        """Identity of an object of which nothing else matters any more.

        Raises:
            DecodeError: it has none.
        """
        try:
            uid = _identity_decoder.decode(raw).metadata.uid
        except UNREADABLE as error:
            raise DecodeError(f"object: {error}") from error
        if not uid:
            raise DecodeError("object: metadata.uid is empty")
        return uid

    def node(self, raw: bytes | msgspec.Raw) -> NodeRecord:
        """A node of the watch.

        Raises:
            DecodeError: not a Node.
        """
        try:
            return self._node_record(_node_decoder.decode(raw))
        except UNREADABLE as error:
            raise DecodeError(f"Node: {error}") from error

    def pod_record(self, pod: Pod) -> PodRecord:
        """The record of a decoded pod; a request without meaning becomes `request_error`."""
        request: PodRequest | None = None
        request_error = ""
        cpu_milli = memory_bytes = 0
        try:
            cpu_milli = _effective(pod.spec, "cpu", parse_milli_quantity)
            memory_bytes = _effective(pod.spec, "memory", parse_quantity)
            request = self._request(pod, cpu_milli, memory_bytes)
        except (RequestError, ContractError) as error:
            request_error = str(error)
        metadata = pod.metadata
        bound = pod.spec.node_name
        if bound and request_error:
            request = self._charged_anyway(pod, cpu_milli, memory_bytes)
        planned = self._allocation(metadata, self.names.allocation_annotation) if bound and request else None
        actual = self._allocation(metadata, self.names.allocated_annotation) if bound and request else None
        return PodRecord(
            uid=metadata.uid,
            namespace=metadata.namespace,
            name=metadata.name,
            resource_version=_version(metadata),
            node=bound,
            request=request,
            request_error=request_error,
            footprint=footprint_of(request, self.unit_mib, planned, actual) if request else None,
            cpu_milli=cpu_milli,
            memory_bytes=memory_bytes,
            priority=pod.spec.priority or 0,
            ended=_ended(pod),
            policy=planned.policy if planned else "",
            placed_at=planned.at if planned else "",
            scheduler=pod.spec.scheduler_name,
            unschedulable=not bound and _unschedulable(pod.status),
            claims_allocated=not bound and self.names.allocated_annotation in (metadata.annotations or {}),
            nominated_node=pod.status.nominated_node_name if pod.status is not None else "",
        )

    def _containers(self, pod: Pod) -> tuple[ContainerRequest, ...]:
        asking = [
            *(
                self._container(c, ContainerKind.SIDECAR if c.restart_policy == "Always" else ContainerKind.INIT)
                for c in pod.spec.init_containers or ()
            ),
            *(self._container(c, ContainerKind.APP) for c in pod.spec.containers),
        ]
        return tuple(container for container in asking if container is not None)

    def _charged_anyway(self, pod: Pod, cpu_milli: int, memory_bytes: int) -> PodRequest | None:
        """What a pod that somebody bound despite its senseless annotations asks for by its spec alone."""
        try:
            containers = self._containers(pod)
            if not containers:
                return None
            return pod_request(containers, cpu_milli=cpu_milli, memory_bytes=memory_bytes, bound=True)
        except (RequestError, ContractError):
            return None  # amounts that no kubelet could have admitted

    def _request(self, pod: Pod, cpu_milli: int, memory_bytes: int) -> PodRequest | None:
        containers = self._containers(pod)
        if not containers:
            return None
        annotations = pod.metadata.annotations or {}
        count = annotations.get(self.names.count_annotation, "1")
        if not (count.isascii() and count.isdigit() and len(count) < 10):
            raise RequestError(f"annotation {self.names.count_annotation} is {count[:64]!r}, expected a number of GPUs")
        models = annotations.get(self.names.model_annotation)
        policy = annotations.get(self.names.policy_annotation, "")
        if policy:
            policy_named(policy)
        return pod_request(
            containers,
            gpu_count=int(count),
            models=parse_models(models) if models is not None else ANY_MODEL,
            policy=policy,
            cpu_milli=cpu_milli,
            memory_bytes=memory_bytes,
        )

    def _container(self, container: Container, kind: ContainerKind) -> ContainerRequest | None:
        limits = container.resources.limits if container.resources is not None else None
        if not limits:
            return None
        memory = limits.get(self.names.memory_resource)
        gpus = limits.get(self.names.gpu_resource)
        core = limits.get(self.names.core_resource)
        if memory is None and gpus is None and core is None:
            return None
        request = ContainerRequest(
            container.name,
            kind,
            parse_quantity(str(memory or 0)),
            parse_quantity(str(gpus or 0)),
            parse_quantity(str(core or 0)),
        )
        return request if request.memory_units or request.gpus else None

    def _allocation(self, metadata: Metadata, annotation: str) -> Allocation | None:
        text = (metadata.annotations or {}).get(annotation)
        if not text:
            return None
        try:
            return _parse_allocation(text)
        except ContractError as error:
            self.warn(f"pod {metadata.namespace}/{metadata.name}: annotation {annotation} is not used: {error}")
            return None

    def _node_record(self, node: Node) -> NodeRecord:
        metadata = node.metadata
        allocatable = (node.status.allocatable if node.status is not None else None) or {}
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


# A pod is shown several times with the same annotation.
_parse_allocation = lru_cache(maxsize=4096)(parse_allocation)


def _version(metadata: Metadata) -> int:
    # Comparable integers within one resource since Kubernetes 1.35 (KEP-5504), and in fact ever since etcd3.
    text = metadata.resource_version
    if not (text.isascii() and text.isdigit()):
        raise DecodeError(f"{metadata.namespace}/{metadata.name}: resourceVersion is {text!r}, expected a number")
    return int(text)


def _quantity(quantities: Mapping[str, str | int | float], name: str, parse: Callable[[str], int]) -> int | None:
    value = quantities.get(name)
    if value is None:
        return None
    try:
        return parse(str(value))
    except ContractError:
        return None


def _effective(spec: PodSpec, resource: str, parse: Callable[[str], int]) -> int:
    whole_pod = spec.resources.requests if spec.resources is not None else None
    overhead = parse(str((spec.overhead or {}).get(resource, 0)))
    if whole_pod and resource in whole_pod:
        return parse(str(whole_pod[resource])) + overhead

    def asked(container: Container) -> int:
        requests = container.resources.requests if container.resources is not None else None
        return parse(str(requests[resource])) if requests and resource in requests else 0

    sidecars = largest = 0
    for container in spec.init_containers or ():
        amount = asked(container)
        if container.restart_policy == "Always":
            sidecars += amount
            largest = max(largest, sidecars)
        else:
            largest = max(largest, sidecars + amount)
    return max(largest, sidecars + sum(map(asked, spec.containers))) + overhead


def _ended(pod: Pod) -> bool:
    status = pod.status
    if status is None:
        return False
    if status.phase in {"Succeeded", "Failed"}:
        return True
    if pod.metadata.deletion_timestamp is None:
        return False
    # Terminating pods hold their memory until every container has stopped, as the kubelet's own account does.
    return _all_stopped(status.container_statuses, len(pod.spec.containers)) and _all_stopped(
        status.init_container_statuses, len(pod.spec.init_containers or ())
    )


def _all_stopped(statuses: Sequence[ContainerStatus] | None, containers: int) -> bool:
    stopped = [one for one in statuses or () if one.state is not None and one.state.terminated is not None]
    return len(stopped) == containers


def _unschedulable(status: PodStatus | None) -> bool:
    return status is not None and any(
        one.type == "PodScheduled" and one.status == "False" and one.reason == "Unschedulable"
        for one in status.conditions or ()
    )
