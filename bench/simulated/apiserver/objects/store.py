"""Keeps numbered records and a bounded history of events, as etcd and the watch cache do for Kubernetes.

Objects are kept as JSON bytes without `kind` and `apiVersion` (lists leave them out, single answers add them), with
the few fields that selectors need. Pure: no clock, lock or I/O; the caller serialises access.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from bench.simulated.apiserver.objects.resources import ApiResource

_encode = msgspec.json.Encoder().encode


class CompactedError(Exception):
    """Events after `requested` have left the history, which now begins after `oldest`."""

    def __init__(self, requested: int, oldest: int) -> None:
        super().__init__(f"revision {requested} is older than {oldest}")
        self.requested = requested
        self.oldest = oldest


@dataclass(frozen=True, slots=True)
class Record:
    """One stored object; `revision` is its resourceVersion, `raw` its JSON without kind and apiVersion."""

    key: str
    uid: str
    revision: int
    fields: Mapping[str, str]
    labels: Mapping[str, str]
    raw: bytes

    def body(self) -> dict[str, Any]:
        """A fresh decoded copy."""
        decoded: dict[str, Any] = msgspec.json.decode(self.raw)
        return decoded


@dataclass(frozen=True, slots=True)
class Event:
    """One change: `type` is ADDED, MODIFIED or DELETED; `record` is the new state, for DELETED the last one."""

    type: str
    revision: int
    record: Record
    previous: Record | None = None


@dataclass(frozen=True, slots=True)
class Backup:
    """Everything that was stored at one revision, as an etcd snapshot has it."""

    revision: int
    records: Mapping[ApiResource, Mapping[str, Record]]


class Store:
    """Every object of every resource, one revision counter, one bounded history per resource.

    Args:
        history_limit: events kept per resource before the oldest are forgotten.
    """

    def __init__(self, history_limit: int = 100_000) -> None:
        if history_limit < 1:
            raise ValueError(f"history_limit is {history_limit}, expected at least 1")
        self.revision = 0
        self._limit = history_limit
        self._records: dict[ApiResource, dict[str, Record]] = {}
        self._history: dict[ApiResource, list[Event]] = {}
        self._floor: dict[ApiResource, int] = {}
        self._compacted = 0

    def get(self, resource: ApiResource, key: str) -> Record | None:
        """The current record at `key` (`namespace/name`, or the name of a cluster-scoped object)."""
        return self._records.get(resource, {}).get(key)

    def records(self, resource: ApiResource, namespace: str = "") -> Iterator[Record]:
        """Current records in key order, as etcd lists them; only those of `namespace` unless empty."""
        held = self._records.get(resource, {})
        keys = sorted(held) if not namespace else sorted(key for key in held if key.startswith(f"{namespace}/"))
        return (held[key] for key in keys)

    def put(self, resource: ApiResource, key: str, body: dict[str, Any]) -> Event:
        """Create or replace; writes the new resourceVersion into `body` and returns the event."""
        previous = self.get(resource, key)
        record = self._record(resource, key, body)
        self._records.setdefault(resource, {})[key] = record
        return self._remember(resource, Event("MODIFIED" if previous else "ADDED", record.revision, record, previous))

    def remove(self, resource: ApiResource, key: str) -> Event:
        """Delete; the event carries the last state under the revision of the deletion.

        Raises:
            KeyError: nothing is stored at `key`.
        """
        previous = self._records[resource].pop(key)
        record = self._record(resource, key, previous.body())
        return self._remember(resource, Event("DELETED", record.revision, record, previous))

    def events_after(self, resource: ApiResource, revision: int) -> list[Event]:
        """Every event of a resource newer than `revision`, oldest first.

        Raises:
            CompactedError: some of them are no longer known.
        """
        oldest = self.oldest(resource)
        if revision < oldest:
            raise CompactedError(revision, oldest)
        history = self._history.get(resource, [])
        return history[bisect_right(history, revision, key=lambda event: event.revision) :]

    def oldest(self, resource: ApiResource) -> int:
        """The oldest revision that a watch of the resource may start from."""
        return max(self._compacted, self._floor.get(resource, 0))

    def changed_at(self, resource: ApiResource) -> int:
        """Revision of the last change of a resource that is still in the history, else the history's beginning."""
        history = self._history.get(resource)
        return history[-1].revision if history else self.oldest(resource)

    def compact(self) -> None:
        """Forget the whole history: only watches from the current revision on can start."""
        self._compacted = self.revision
        self._history.clear()

    def backup(self) -> Backup:
        """What is stored now."""
        return Backup(self.revision, {resource: dict(held) for resource, held in self._records.items()})

    def restore(self, backup: Backup, *, bump: int) -> None:
        """Go back to a backup; the next revision follows its own, or that and `bump`. The history is forgotten."""
        self._records = {resource: dict(held) for resource, held in backup.records.items()}
        self.revision = backup.revision + bump
        self.compact()

    def _record(self, resource: ApiResource, key: str, body: dict[str, Any]) -> Record:
        self.revision += 1
        metadata = body["metadata"]
        metadata["resourceVersion"] = str(self.revision)
        return Record(
            key=key,
            uid=metadata.get("uid", ""),
            revision=self.revision,
            fields=resource.fields_of(body),
            labels=metadata.get("labels") or {},
            raw=_encode(body),
        )

    def _remember(self, resource: ApiResource, event: Event) -> Event:
        history = self._history.setdefault(resource, [])
        history.append(event)
        # Trimmed in steps: deleting from the front on every write would cost the list's length each time.
        if len(history) > self._limit + self._limit // 4:
            surplus = len(history) - self._limit
            self._floor[resource] = history[surplus - 1].revision
            del history[:surplus]
        return event
