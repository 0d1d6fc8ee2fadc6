"""Describes Events and the workloads that make pods, as far as `kubectl gpupack explain` looks at them."""

import msgspec

from extender.kube.objects import Camel, Condition, Metadata, reader_of


class EventObject(Camel):
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


class OwnerStatus(Camel):
    """Status of a Deployment, ReplicaSet, StatefulSet or Job."""

    conditions: list[Condition] | None = None


class OwnerObject(Camel):
    """Whatever makes pods."""

    metadata: Metadata
    status: OwnerStatus = msgspec.field(default_factory=OwnerStatus)


read_event = reader_of(EventObject)
read_owner = reader_of(OwnerObject)
