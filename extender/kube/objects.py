"""The fields of the API's Node and Pod objects that count for placing, as msgspec decodes them from JSON.

Fields that are not named here are skipped without being decoded. What is often the same from pod to pod, or seldom
looked at, stays JSON (`Raw`), which costs as little as to skip it.
"""

from typing import Literal

import msgspec

Quantities = dict[str, str | int | float]


class DecodeError(ValueError):
    """Bytes that are not the Kubernetes object that they should be."""


UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for malformed or mistyped JSON, for bytes that are not UTF-8, and for absurd nesting."""

ABSENT = msgspec.Raw(b"null")
"""Stands for a field that the object does not have."""


class Camel(msgspec.Struct, rename="camel", gc=False):
    """Base of the API's objects."""


class Resources(Camel):
    """ResourceRequirements."""

    limits: Quantities | None = None
    requests: Quantities | None = None


class Container(Camel):
    """Container; `resources` are of the form `Resources`, `restart_policy` Always makes an init container a sidecar."""

    name: str = ""
    resources: msgspec.Raw = ABSENT
    restart_policy: str | None = None


class Metadata(Camel):
    """ObjectMeta."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    deletion_timestamp: str | None = None
    annotations: dict[str, str] | None = None


class PodSpec(Camel):
    """PodSpec; `overhead` is of the form `Quantities`, `resources` of the form `Resources`."""

    containers: list[Container] = []
    init_containers: list[Container] | None = None
    node_name: str = ""
    scheduler_name: str = ""
    priority: int | None = None
    overhead: msgspec.Raw = ABSENT
    resources: msgspec.Raw = ABSENT


class Terminated(Camel):
    """ContainerStateTerminated; that it is there is all that counts."""


class ContainerState(Camel):
    """ContainerState; present fields say which state it is."""

    terminated: Terminated | None = None


class ContainerStatus(Camel):
    """ContainerStatus."""

    state: ContainerState | None = None


class Condition(Camel):
    """PodCondition."""

    type: str = ""
    status: str = ""
    reason: str = ""


class PodStatus(Camel):
    """PodStatus; lists of `ContainerStatus` and `Condition`."""

    phase: str = ""
    container_statuses: msgspec.Raw = ABSENT
    init_container_statuses: msgspec.Raw = ABSENT
    conditions: msgspec.Raw = ABSENT
    nominated_node_name: str = ""


class Pod(Camel):
    """Pod."""

    metadata: Metadata
    spec: PodSpec
    status: PodStatus | None = None


class PodEvent(Camel):
    """A watch line that shows a pod."""

    type: Literal["ADDED", "MODIFIED", "DELETED"]
    object: Pod


class NodeStatus(Camel):
    """NodeStatus."""

    allocatable: Quantities | None = None


class Node(Camel):
    """Node."""

    metadata: Metadata
    status: NodeStatus | None = None


class Identity(Camel):
    """ObjectMeta of an object of which nothing else matters any more."""

    uid: str = ""


class Identified(Camel):
    """Any object."""

    metadata: Identity
