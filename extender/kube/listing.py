"""Split list pages and watch lines into objects, which stay JSON until a sink decodes them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

import msgspec

from extender.kube.errors import AnswerTooLargeError
from extender.kube.objects import UNKNOWN, UNREADABLE, Identified, Identity
from extender.kube.salvage import elements, members, without_managed_fields

PAGE_ITEMS = 500
PAGE_BYTES = 16 * 2**20

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
    kind: str = ""
    items: list[msgspec.Raw] | None = None


class _Event(msgspec.Struct, gc=False):
    type: EventKind
    object: msgspec.Raw


_DECODE_LIST = msgspec.json.Decoder(_List).decode
_DECODE_EVENT = msgspec.json.Decoder(_Event).decode
_DECODE_LIST_META = msgspec.json.Decoder(_ListMeta).decode
_DECODE_KIND = msgspec.json.Decoder(EventKind).decode
_DECODE_TEXT = msgspec.json.Decoder(str).decode
_DECODE_OBJECT = msgspec.json.Decoder(Identified).decode


Record = TypeVar("Record")
"""What a sink keeps of one object."""


class Sink(Protocol[Record]):
    """Where the state goes; called from the reflector's thread only.

    An object that `read` refuses is left out, logged and counted, and the others go on. Any other exception from a sink
    is logged and counted, too; one from `replaced` means that the list could not be applied, so it is tried again.
    """

    def read(self, raw: bytes, /) -> Record:
        """Decode what is kept of one object, given as its JSON.

        Raises:
            DecodeError: it cannot be read.
        """

    def replaced(
        self, records: Sequence[Record], unreadable: Sequence[Identity], resource_version: str, *, rewound: bool
    ) -> None:
        """Swap in the full state: these are all objects there are.

        `unreadable` are those that exist and could not be read, as far as they say which they are; what an older
        version said of them is better than nothing. `rewound`: this version is older than what was seen before, which
        is of a history that is no more; no version seen before counts against one of this list.
        """

    def changed(self, record: Record) -> None:
        """Take one object that was added or modified."""

    def deleted(self, identity: Identity) -> None:
        """One object is gone."""


class ListSource(Protocol):
    """Lists, as `extender.kube.client.KubeApi` does."""

    def list_page(
        self, path: str, limit: int, continue_token: str, timeout_s: float, max_bytes: int | None = None
    ) -> bytes:
        """One page of the newest state, as JSON."""


def list_pages(
    source: ListSource, path: str, timeout_s: float, page_items: int = PAGE_ITEMS, page_bytes: int = PAGE_BYTES
) -> Iterator[ListPage]:
    """The pages of a list, one after the other; `timeout_s` is for each.

    How many objects are asked for follows the bytes of the page before: half of `page_bytes` is the aim, and an answer
    that passes `page_bytes` is given up and asked for in smaller pieces. So at most three times `page_bytes` are in
    memory for a list of any size, besides what the caller keeps (or three times the largest object, if that is more).

    Raises:
        ApiError: the server refuses; 410 when the list has outlived its continue token.
        ApiUnreachable: no answer.
        EnvelopeError: not a list.
    """
    limit, token = page_items, ""
    while True:
        try:
            body = source.list_page(path, limit, token, timeout_s, page_bytes if limit > 1 else None)
        except AnswerTooLargeError:
            limit = max(1, limit // 8)
            continue
        page, size = parse_list_page(body), len(body)
        del body
        yield page
        token = page.continue_token
        if not token:
            return
        limit = min(page_items, max(1, page_bytes * len(page.items) // (2 * size)))
        del page


def parse_list_page(body: bytes) -> ListPage:
    """Split a list answer into its items, whatever each of them is.

    The items are copies: a view of one item would keep the whole page alive.

    Raises:
        EnvelopeError: not a list object, or one without a resource version to watch from.
    """
    try:
        page = _DECODE_LIST(body)
    except UNREADABLE as error:
        page = _page_of_parts(without_managed_fields(body), error)
    if not page.kind.endswith("List"):
        raise EnvelopeError(f"list answer of {len(body)} bytes: kind is {page.kind!r}, expected a list")
    if not page.metadata.resourceVersion:
        raise EnvelopeError(f"list answer of {len(body)} bytes: metadata.resourceVersion is empty")
    items = tuple([bytes(item) for item in page.items or ()])
    return ListPage(items, page.metadata.resourceVersion, page.metadata.continue_token)


def _page_of_parts(body: bytes, why: Exception) -> _List:
    """A page that cannot be decoded as it came."""
    try:
        return _DECODE_LIST(body)
    except UNREADABLE:
        pass
    try:
        parts = members(body)
        items = [] if parts.get("items", b"null") == b"null" else elements(parts["items"])
        kind = _text(parts.get("kind", b""))
        return _List(_DECODE_LIST_META(parts["metadata"]), kind, [msgspec.Raw(item) for item in items])
    except (KeyError, ValueError, RecursionError):
        raise EnvelopeError(f"list answer of {len(body)} bytes: {why}") from why


def parse_event(line: bytes) -> WatchEvent:
    """Open one watch line, whatever its object is.

    Raises:
        EnvelopeError: not a watch event.
    """
    try:
        event = _DECODE_EVENT(line)
    except UNREADABLE as error:
        event = _event_of_parts(without_managed_fields(line), error)
    raw = bytes(event.object)
    return WatchEvent(event.type, raw, UNKNOWN if event.type == "ERROR" else identity_of(raw))


def _event_of_parts(line: bytes, why: Exception) -> _Event:
    """A watch line that cannot be decoded as it came."""
    try:
        return _DECODE_EVENT(line)
    except UNREADABLE:
        pass
    try:
        parts = members(line)
        return _Event(_DECODE_KIND(parts["type"]), msgspec.Raw(parts["object"]))
    except (KeyError, ValueError, RecursionError):
        raise EnvelopeError(f"watch line of {len(line)} bytes: {why}") from why


def identity_of(raw: bytes) -> Identity:
    """Which object some JSON is, as far as it says so."""
    try:
        return _DECODE_OBJECT(raw).metadata
    except UNREADABLE:
        pass
    try:
        metadata = members(members(raw)["metadata"])
        return Identity(*[_text(metadata.get(field, b"")) for field in ("namespace", "name", "uid", "resourceVersion")])
    except (KeyError, ValueError):
        return UNKNOWN


def name_of(raw: bytes) -> str:
    """`namespace/name` of an object's JSON for a log line, or a description of the bytes when it has none."""
    return str(identity_of(raw)) or f"an object of {len(raw)} bytes without readable metadata"


def version_of(source: ListSource, path: str, timeout_s: float) -> str:
    """The resource version of a collection now.

    Asks for one object, and for any: API servers without consistent reads from their cache search their storage for one
    that a selector takes.

    Raises:
        ApiError: the server refuses.
        ApiUnreachable: no answer.
        EnvelopeError: not a list.
    """
    return parse_list_page(source.list_page(path.partition("?")[0], 1, "", timeout_s)).resource_version


def _text(value: bytes) -> str:
    """A JSON string's text; empty when it is none."""
    try:
        return _DECODE_TEXT(value)
    except UNREADABLE:
        return ""
