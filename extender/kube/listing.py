"""Split list pages and watch lines into objects, which stay JSON until a sink decodes them."""

from dataclasses import dataclass
from typing import Literal

import msgspec

from extender.kube.objects import UNREADABLE, Identified, Identity

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
    """One watch line: what happened, the object's own JSON, and which object it is (an empty identity in an ERROR)."""

    kind: EventKind
    raw: bytes
    identity: Identity


class _ListMeta(msgspec.Struct, gc=False):
    resourceVersion: str = ""  # noqa: N815 - the API's own name
    continue_token: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct, gc=False):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None


class _Event(msgspec.Struct, gc=False):
    type: EventKind
    object: msgspec.Raw


_DECODE_LIST = msgspec.json.Decoder(_List).decode
_DECODE_EVENT = msgspec.json.Decoder(_Event).decode
_DECODE_OBJECT = msgspec.json.Decoder(Identified).decode
_NOBODY = Identity()


def parse_list_page(body: bytes) -> ListPage:
    """Split a list answer into its items.

    The items are copies: a view of one item would keep the whole page alive.

    Raises:
        EnvelopeError: not a list object, or one without a resource version to watch from.
    """
    try:
        page = _DECODE_LIST(body)
    except UNREADABLE as error:
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
        identity = _NOBODY if event.type == "ERROR" else _DECODE_OBJECT(raw).metadata
    except UNREADABLE as error:
        raise EnvelopeError(f"watch line of {len(line)} bytes: {error}") from error
    if event.type != "ERROR" and not identity.resource_version:
        raise EnvelopeError(f"watch line of {len(line)} bytes: object.metadata.resourceVersion is empty")
    return WatchEvent(event.type, raw, identity)


def identity_of(raw: bytes) -> Identity:
    """Which object some JSON is, as far as it says so."""
    try:
        return _DECODE_OBJECT(raw).metadata
    except UNREADABLE:
        return _NOBODY


def name_of(raw: bytes) -> str:
    """`namespace/name` of an object's JSON for a log line, or a description of the bytes when it has none."""
    return str(identity_of(raw)) or f"an object of {len(raw)} bytes without readable metadata"
