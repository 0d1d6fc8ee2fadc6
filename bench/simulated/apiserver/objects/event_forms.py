"""Converts Event objects between core/v1, in which they are stored, and events.k8s.io/v1."""

from typing import Any

Body = dict[str, Any]

_OLD_OF_NEW = {
    "regarding": "involvedObject",
    "note": "message",
    "reportingController": "reportingComponent",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
    "deprecatedSource": "source",
}
_NEW_OF_OLD = {old: new for new, old in _OLD_OF_NEW.items()}


def to_stored(body: Body) -> Body:
    """An events.k8s.io Event in core form."""
    return {_OLD_OF_NEW.get(key, key): value for key, value in body.items()}


def from_stored(body: Body) -> Body:
    """A core Event in events.k8s.io form."""
    return {_NEW_OF_OLD.get(key, key): value for key, value in body.items()}
