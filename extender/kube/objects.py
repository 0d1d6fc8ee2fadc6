"""Describe the API's objects as msgspec structs, as far as anything in the product looks at them.

Other fields are skipped without being decoded. Pods come in two forms: `Pod` has what counts for placing, where what
is seldom looked at stays JSON (`Raw`), which costs as little as skipping it; `PodObject` has what people are told.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from extender.kube.salvage import without_managed_fields

Quantities = dict[str, str | int | float]


class DecodeError(ValueError):
    """Bytes that are not the Kubernetes object that they should be."""


UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for malformed or mistyped JSON, for bytes that are not UTF-8, and for deep nesting."""

ABSENT = msgspec.Raw(b"null")
"""Stands for a field that the object does not have."""


class Camel(msgspec.Struct, rename="camel", gc=False):
    """Base of the API's objects."""


class Identity(msgspec.Struct, rename="camel", gc=False, frozen=True):
    """The part of ObjectMeta that says which object it is, and of which version; empty where it is not known."""

    namespace: str = ""
    name: str = ""
    uid: str = ""
    resource_version: str = ""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


UNKNOWN = Identity()


class Identified(Camel):
    """Any object."""

    metadata: Identity


class OwnerReference(Camel):
    """OwnerReference."""

    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False


class PodMetadata(Camel):
    """ObjectMeta as far as it counts for placing; `deletion_timestamp` is RFC 3339."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    deletion_timestamp: str | None = None
    annotations: dict[str, str] | None = None

    def annotation(self, name: str) -> str | None:
        """The value of an annotation."""
        return (self.annotations or {}).get(name)


class PlacedMetadata(PodMetadata):
    """The same with the labels, a JSON object, and the owners, a list of `OwnerReference`."""

    labels: msgspec.Raw = ABSENT
    owner_references: msgspec.Raw = ABSENT


class Metadata(PodMetadata):
    """ObjectMeta; `creation_timestamp` is RFC 3339."""

    creation_timestamp: str | None = None
    labels: dict[str, str] | None = None
    owner_references: list[OwnerReference] | None = None


class Condition(Camel):
    """A condition of a pod, a node, a Job or a ReplicaSet."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class Resources(Camel):
    """ResourceRequirements."""

    limits: Quantities | None = None
    requests: Quantities | None = None


class Present(Camel):
    """An object; that it is there is all that counts."""


class ContainerStateWaiting(Camel):
    """ContainerStateWaiting."""

    reason: str = ""
    message: str = ""


class ContainerState(Camel):
    """ContainerState; present fields say which state it is."""

    waiting: ContainerStateWaiting | None = None
    running: Present | None = None
    terminated: Present | None = None


class ContainerStatus(Camel):
    """ContainerStatus; `container_id` is the runtime's, such as `containerd://<id>`."""

    name: str = ""
    container_id: str | None = msgspec.field(default=None, name="containerID")
    state: ContainerState | None = None


class Container(Camel):
    """Container; `resources` are of the form `Resources`, `restart_policy` Always makes an init container a sidecar."""

    name: str = ""
    resources: msgspec.Raw = ABSENT
    restart_policy: str | None = None


class PodSpec(Camel):
    """PodSpec as far as it counts for placing; `overhead` is `Quantities`, other fields have their usual types."""

    containers: list[Container] = []
    init_containers: list[Container] | None = None
    node_name: str = ""
    scheduler_name: str = ""
    priority: int | None = None
    overhead: msgspec.Raw = ABSENT
    resources: msgspec.Raw = ABSENT
    affinity: msgspec.Raw = ABSENT
    topology_spread_constraints: msgspec.Raw = ABSENT
    scheduling_gates: list[Present] | None = None


class PodStatus(Camel):
    """PodStatus as far as it counts for placing; lists of `ContainerStatus` and `Condition`."""

    phase: str = ""
    start_time: str | None = None
    reason: str = ""
    container_statuses: msgspec.Raw = ABSENT
    init_container_statuses: msgspec.Raw = ABSENT
    conditions: msgspec.Raw = ABSENT
    nominated_node_name: str = ""


class Pod(Camel):
    """Pod as far as it counts for placing."""

    metadata: PlacedMetadata
    spec: PodSpec
    status: PodStatus | None = None


class Toleration(Camel):
    """Toleration."""

    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""


class Taint(Camel):
    """Taint."""

    key: str = ""
    value: str = ""
    effect: str = ""


class NodeSelectorRequirement(Camel):
    """NodeSelectorRequirement."""

    key: str = ""
    operator: str = ""
    values: list[str] | None = None


class Term(Camel):
    """NodeSelectorTerm."""

    match_expressions: list[NodeSelectorRequirement] | None = None
    match_fields: list[NodeSelectorRequirement] | None = None


class NodeSelector(Camel):
    """NodeSelector."""

    node_selector_terms: list[Term] | None = None


class NodeAffinity(Camel):
    """NodeAffinity, what is required of it."""

    required: NodeSelector | None = msgspec.field(default=None, name="requiredDuringSchedulingIgnoredDuringExecution")


class PodAffinity(Camel):
    """PodAffinity or PodAntiAffinity, what is required of it."""

    required: list[Present] | None = msgspec.field(default=None, name="requiredDuringSchedulingIgnoredDuringExecution")


class Affinity(Camel):
    """Affinity."""

    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAffinity | None = None


class TopologySpreadConstraint(Camel):
    """TopologySpreadConstraint."""

    when_unsatisfiable: str = ""


class Volume(Camel):
    """Volume; the fields say of which kind it is."""

    empty_dir: Present | None = None
    persistent_volume_claim: Present | None = None
    ephemeral: Present | None = None


class Named(Camel):
    """Anything of which only the name counts."""

    name: str = ""


class Port(Camel):
    """ContainerPort."""

    name: str = ""
    container_port: int = 0
    host_port: int = 0


class EnvVar(Camel):
    """EnvVar with a value of its own."""

    name: str = ""
    value: str | None = None


class VolumeMount(Camel):
    """VolumeMount."""

    mount_path: str = ""


class ContainerArguments(Camel):
    """A container as far as its settings are looked at."""

    name: str = ""
    env: list[EnvVar] | None = None
    ports: list[Port] | None = None
    resources: Resources | None = None
    args: list[str] | None = None
    command: list[str] | None = None
    restart_policy: str | None = None
    volume_mounts: list[VolumeMount] | None = None


class PodObjectSpec(Camel):
    """PodSpec."""

    containers: list[ContainerArguments] = []
    init_containers: list[ContainerArguments] | None = None
    node_name: str = ""
    node_selector: dict[str, str] | None = None
    affinity: Affinity | None = None
    tolerations: list[Toleration] | None = None
    topology_spread_constraints: list[TopologySpreadConstraint] | None = None
    volumes: list[Volume] | None = None
    resource_claims: list[Named] | None = None
    scheduler_name: str = ""
    service_account_name: str = ""
    scheduling_gates: list[Named] | None = None


class PodObjectStatus(Camel):
    """PodStatus."""

    phase: str = ""
    nominated_node_name: str = ""
    start_time: str | None = None
    reason: str = ""
    message: str = ""
    conditions: list[Condition] | None = None
    container_statuses: list[ContainerStatus] | None = None
    init_container_statuses: list[ContainerStatus] | None = None
    ephemeral_container_statuses: list[ContainerStatus] | None = None


class PodObject(Camel):
    """Pod."""

    metadata: Metadata
    spec: PodObjectSpec = msgspec.field(default_factory=PodObjectSpec)
    status: PodObjectStatus = msgspec.field(default_factory=PodObjectStatus)

    @property
    def path(self) -> str:
        """`namespace/name`, for people."""
        return f"{self.metadata.namespace}/{self.metadata.name}"

    def condition(self, kind: str) -> Condition | None:
        """The condition of that type."""
        return next((each for each in self.status.conditions or () if each.type == kind), None)


class NodeSpec(Camel):
    """NodeSpec."""

    unschedulable: bool = False
    taints: list[Taint] | None = None


class NodeStatus(Camel):
    """NodeStatus."""

    allocatable: Quantities | None = None
    conditions: list[Condition] | None = None


class NodeObject(Camel):
    """Node."""

    metadata: Metadata
    spec: NodeSpec = msgspec.field(default_factory=NodeSpec)
    status: NodeStatus = msgspec.field(default_factory=NodeStatus)

    @property
    def is_ready(self) -> bool:
        """Whether its kubelet says so."""
        return any(each.type == "Ready" and each.status == "True" for each in self.status.conditions or ())


Decoded = TypeVar("Decoded")


def reader_of(kind: type[Decoded]) -> Callable[[bytes | msgspec.Raw], Decoded]:
    """Make a function from JSON to `kind` that raises DecodeError, though not for what only managedFields say."""
    decode = msgspec.json.Decoder(kind).decode

    def read(raw: bytes | msgspec.Raw) -> Decoded:
        try:
            return decode(raw)
        except UNREADABLE as error:
            try:
                return decode(without_managed_fields(bytes(raw)))
            except UNREADABLE:
                raise DecodeError(f"{kind.__name__}: {error}") from error

    return read


read_placed_pod = reader_of(Pod)
read_pod = reader_of(PodObject)
read_node = reader_of(NodeObject)
read_document: Callable[[bytes | msgspec.Raw], dict[str, Any]] = reader_of(dict[str, Any])
