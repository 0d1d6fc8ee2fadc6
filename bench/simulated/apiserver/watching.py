"""Renders the lines of a watch: selected events, objects that leave the selector, bookmarks, errors.

Source of the selector's semantics: k8s.io/apiserver/pkg/storage/cacher/cache_watcher.go (convertToWatchEvent).
"""

from dataclasses import dataclass

import msgspec

from bench.simulated.apiserver.listing import render_object
from bench.simulated.apiserver.objects.resources import ApiResource
from bench.simulated.apiserver.objects.selectors import Selector
from bench.simulated.apiserver.objects.statuses import StatusError
from bench.simulated.apiserver.objects.store import Event, Record


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """The query of a watch request; `timeout_s` is 0 where the client leaves it to the server."""

    resource_version: str = ""
    bookmarks: bool = False
    timeout_s: float = 0


@dataclass(frozen=True, slots=True)
class Watch:
    """What one client watches."""

    resource: ApiResource
    namespace: str
    selector: Selector
    options: WatchOptions

    def line(self, event: Event, unselected: bytes) -> bytes | None:
        """The line for an event, None when this client does not see it.

        Args:
            event: what happened.
            unselected: the line that a watch without selector gets, encoded once for all.
        """
        record = event.record
        if self.namespace and not record.key.startswith(f"{self.namespace}/"):
            return None
        if not self.selector:
            return unselected
        sees = event.type != "DELETED" and self.selector.matches(record.fields, record.labels)
        before = event.previous
        saw = before is not None and self.selector.matches(before.fields, before.labels)
        if sees:
            return unselected if saw or event.type == "ADDED" else event_line(self.resource, "ADDED", record)
        if not saw or before is None:
            return None
        return unselected if event.type == "DELETED" else event_line(self.resource, "DELETED", _at(before, event))


def _at(record: Record, event: Event) -> Record:
    """The state that the client last saw, under the revision of the event that deselected it."""
    body = record.body()
    body["metadata"]["resourceVersion"] = str(event.revision)
    raw = msgspec.json.encode(body)
    return Record(record.key, record.uid, event.revision, record.fields, record.labels, raw)


def event_line(resource: ApiResource, kind: str, record: Record) -> bytes:
    """One event of a watch."""
    return b'{"type":"%b","object":%b}\n' % (kind.encode(), render_object(resource, record))


def bookmark_line(resource: ApiResource, revision: int) -> bytes:
    """A BOOKMARK event, which only carries a revision."""
    metadata: dict[str, object] = {"resourceVersion": str(revision), "creationTimestamp": None}
    body = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
    return msgspec.json.encode({"type": "BOOKMARK", "object": body}) + b"\n"


def error_line(error: StatusError) -> bytes:
    """The event that ends a watch with a Status."""
    return b'{"type":"ERROR","object":%b}\n' % error.body()
