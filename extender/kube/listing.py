"""From the bytes of a list page or a watch line to its envelope; the objects inside stay bytes."""

from dataclasses import dataclass
from typing import Literal

import msgspec

EventKind = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]


class EnvelopeError(ValueError):
    """A list page or watch line that is not what the API promises; the message says where it breaks."""


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page of a list: every item's own JSON, the list's resource version, and the token of the next page or ''."""

    items: tuple[bytes, ...]
    resource_version: str
    continue_token: str


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One watch line: what happened, the object's own JSON, and the object's resource version ('' in an ERROR)."""

    kind: EventKind
    raw: bytes
    resource_version: str


class _ListMeta(msgspec.Struct, gc=False):
    resourceVersion: str = ""  # noqa: N815 - the API's own name
    continue_token: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct, gc=False):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None


class _Event(msgspec.Struct, gc=False):
    type: EventKind
    object: msgspec.Raw


class _Meta(msgspec.Struct, gc=False):
    name: str = ""
    namespace: str = ""
    resourceVersion: str = ""  # noqa: N815 - the API's own name


class _Object(msgspec.Struct, gc=False):
    metadata: _Meta


_DECODE_LIST = msgspec.json.Decoder(_List).decode
_DECODE_EVENT = msgspec.json.Decoder(_Event).decode
_DECODE_OBJECT = msgspec.json.Decoder(_Object).decode
_BAD_JSON = (msgspec.MsgspecError, UnicodeDecodeError)


def parse_list_page(body: bytes) -> ListPage:
    """Split a list answer into its items.

    The items are copies: a view of one item would keep the whole page alive.

    Raises:
        EnvelopeError: not a list object, or one without a resource version to watch from.
    """
    try:
        page = _DECODE_LIST(body)
    except _BAD_JSON as error:
        raise EnvelopeError(f"list answer of {len(body)} bytes: {error}") from error
    if not page.metadata.resourceVersion:
        raise EnvelopeError(f"list answer of {len(body)} bytes: metadata.resourceVersion is empty")
    items = tuple([bytes(item) for item in page.items or ()])
    return ListPage(items, page.metadata.resourceVersion, page.metadata.continue_token)


def parse_event(line: bytes) -> WatchEvent:
    """Open one watch line.

    Raises:
        EnvelopeError: not a watch event, or an object without a resource version to go on from.
    """
    try:
        event = _DECODE_EVENT(line)
        raw = bytes(event.object)
        version = "" if event.type == "ERROR" else _DECODE_OBJECT(raw).metadata.resourceVersion
    except _BAD_JSON as error:
        raise EnvelopeError(f"watch line of {len(line)} bytes: {error}") from error
    if event.type != "ERROR" and not version:
        raise EnvelopeError(f"watch line of {len(line)} bytes: object.metadata.resourceVersion is empty")
    return WatchEvent(event.type, raw, version)


def name_of(raw: bytes) -> str:
    """`namespace/name` of an object's JSON for a log line, or a description of the bytes when it has none."""
    try:
        metadata = _DECODE_OBJECT(raw).metadata
    except _BAD_JSON:
        return f"an object of {len(raw)} bytes without readable metadata"
    return f"{metadata.namespace}/{metadata.name}" if metadata.namespace else metadata.name
