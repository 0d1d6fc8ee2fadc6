"""From the JSON of Node, Pod and Event objects to what people are told of them beside the ledger's records.

What counts for placing is decoded by `extender.decoding.decoder` alone; nothing of it is repeated here.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from extender.kube.objects import UNREADABLE, DecodeError, Quantities, Resources


class _Camel(msgspec.Struct, rename="camel", gc=False):
    """Base of the API's objects; fields that are not named are skipped."""


class Owner(_Camel):
    """OwnerReference."""

    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False


class Metadata(_Camel):
    """ObjectMeta; `creation_timestamp` and `deletion_timestamp` are RFC 3339."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[Owner] | None = None

    def annotation(self, name: str) -> str | None:
        """The value of an annotation."""
        return (self.annotations or {}).get(name)


class Condition(_Camel):
    """A condition of a pod, a node, a Job or a ReplicaSet."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class Toleration(_Camel):
    """Toleration."""

    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""


class Taint(_Camel):
    """Taint."""

    key: str = ""
    value: str = ""
    effect: str = ""


class Requirement(_Camel):
    """NodeSelectorRequirement."""

    key: str = ""
    operator: str = ""
    values: list[str] | None = None


class Term(_Camel):
    """NodeSelectorTerm."""

    match_expressions: list[Requirement] | None = None
    match_fields: list[Requirement] | None = None


class NodeSelector(_Camel):
    """NodeSelector."""

    node_selector_terms: list[Term] | None = None


class NodeAffinity(_Camel):
    """NodeAffinity, what is required of it."""

    required: NodeSelector | None = msgspec.field(default=None, name="requiredDuringSchedulingIgnoredDuringExecution")


class Present(_Camel):
    """An object; that it is there is all that counts."""


class PodAffinity(_Camel):
    """PodAffinity or PodAntiAffinity, what is required of it."""

    required: list[Present] | None = msgspec.field(default=None, name="requiredDuringSchedulingIgnoredDuringExecution")


class Affinity(_Camel):
    """Affinity."""

    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAffinity | None = None


class Spread(_Camel):
    """TopologySpreadConstraint."""

    when_unsatisfiable: str = ""


class Volume(_Camel):
    """Volume; the fields say of which kind it is."""

    empty_dir: Present | None = None
    persistent_volume_claim: Present | None = None
    ephemeral: Present | None = None


class Named(_Camel):
    """Anything of which only the name counts."""

    name: str = ""


class Port(_Camel):
    """ContainerPort."""

    name: str = ""
    container_port: int = 0
    host_port: int = 0


class EnvVar(_Camel):
    """EnvVar with a value of its own."""

    name: str = ""
    value: str | None = None


class ContainerArguments(_Camel):
    """A container as far as its settings are looked at."""

    name: str = ""
    env: list[EnvVar] | None = None
    ports: list[Port] | None = None
    resources: Resources | None = None
    args: list[str] | None = None
    command: list[str] | None = None


class PodSpec(_Camel):
    """PodSpec."""

    containers: list[ContainerArguments] = []
    init_containers: list[ContainerArguments] | None = None
    node_name: str = ""
    node_selector: dict[str, str] | None = None
    affinity: Affinity | None = None
    tolerations: list[Toleration] | None = None
    topology_spread_constraints: list[Spread] | None = None
    volumes: list[Volume] | None = None
    resource_claims: list[Named] | None = None
    scheduler_name: str = ""
    service_account_name: str = ""
    scheduling_gates: list[Named] | None = None


class Waiting(_Camel):
    """ContainerStateWaiting."""

    reason: str = ""
    message: str = ""


class ContainerState(_Camel):
    """ContainerState, as far as it says why a container does not run."""

    waiting: Waiting | None = None


class ContainerStatus(_Camel):
    """ContainerStatus."""

    name: str = ""
    state: ContainerState | None = None


class PodStatus(_Camel):
    """PodStatus."""

    phase: str = ""
    reason: str = ""
    message: str = ""
    conditions: list[Condition] | None = None
    container_statuses: list[ContainerStatus] | None = None
    init_container_statuses: list[ContainerStatus] | None = None


class PodObject(_Camel):
    """Pod."""

    metadata: Metadata
    spec: PodSpec = msgspec.field(default_factory=PodSpec)
    status: PodStatus = msgspec.field(default_factory=PodStatus)

    @property
    def path(self) -> str:
        """`namespace/name`, for people."""
        return f"{self.metadata.namespace}/{self.metadata.name}"

    def condition(self, kind: str) -> Condition | None:
        """The condition of that type."""
        return next((each for each in self.status.conditions or () if each.type == kind), None)


class NodeSpec(_Camel):
    """NodeSpec."""

    unschedulable: bool = False
    taints: list[Taint] | None = None


class NodeStatus(_Camel):
    """NodeStatus."""

    allocatable: Quantities | None = None
    conditions: list[Condition] | None = None


class NodeObject(_Camel):
    """Node."""

    metadata: Metadata
    spec: NodeSpec = msgspec.field(default_factory=NodeSpec)
    status: NodeStatus = msgspec.field(default_factory=NodeStatus)

    @property
    def is_ready(self) -> bool:
        """Whether its kubelet says so."""
        return any(each.type == "Ready" and each.status == "True" for each in self.status.conditions or ())


class EventObject(_Camel):
    """core/v1 Event; `count` is how often it happened."""

    metadata: Metadata
    reason: str = ""
    message: str = ""
    type: str = ""
    count: int | None = None
    last_timestamp: str | None = None
    event_time: str | None = None

    @property
    def at(self) -> str:
        """When it happened last, RFC 3339."""
        return self.last_timestamp or self.event_time or self.metadata.creation_timestamp or ""


class OwnerStatus(_Camel):
    """Status of a Deployment, ReplicaSet, StatefulSet or Job."""

    conditions: list[Condition] | None = None


class OwnerObject(_Camel):
    """Whatever makes pods."""

    metadata: Metadata
    status: OwnerStatus = msgspec.field(default_factory=OwnerStatus)


Decoded = TypeVar("Decoded")


def reader_of(kind: type[Decoded]) -> Callable[[bytes], Decoded]:
    """A function from JSON to `kind` that raises DecodeError."""
    decode = msgspec.json.Decoder(kind).decode

    def read(raw: bytes) -> Decoded:
        try:
            return decode(raw)
        except UNREADABLE as error:
            raise DecodeError(f"{kind.__name__}: {error}") from error

    return read


read_pod = reader_of(PodObject)
read_node = reader_of(NodeObject)
read_event = reader_of(EventObject)
read_owner = reader_of(OwnerObject)
read_document: Callable[[bytes], dict[str, Any]] = reader_of(dict[str, Any])
