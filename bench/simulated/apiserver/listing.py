"""Renders lists, whole or in pages of one consistent snapshot."""

import base64
from dataclasses import dataclass

import msgspec

from bench.simulated.apiserver.objects.resources import ApiResource
from bench.simulated.apiserver.objects.selectors import Selector
from bench.simulated.apiserver.objects.statuses import StatusError, expired, expired_token
from bench.simulated.apiserver.objects.store import Record, Store
from extender.contract.quantity import parse_digits

_SNAPSHOTS_KEPT = 32


class _Token(msgspec.Struct, frozen=True):
    snapshot: int
    offset: int


@dataclass(frozen=True, slots=True)
class ListOptions:
    """The query of a list request."""

    limit: int = 0
    continue_token: str = ""
    resource_version: str = ""
    match: str = ""


@dataclass(frozen=True, slots=True)
class _Snapshot:
    revision: int
    records: tuple[Record, ...]


def render_object(resource: ApiResource, record: Record) -> bytes:
    """A record as a single object, with kind and apiVersion."""
    return b'{"kind":"%b","apiVersion":"%b",%b' % (
        resource.kind.encode(),
        resource.api_version.encode(),
        record.raw[1:],
    )


class Lister:
    """Lists of one store; remembers the snapshots that continue tokens point into, the newest ones only."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._snapshots: dict[int, _Snapshot] = {}
        self._next = 0

    def list(self, resource: ApiResource, namespace: str, selector: Selector, options: ListOptions) -> bytes:
        """One page as a Kubernetes list object.

        Raises:
            ApiError: 400 for a token that is none, 410 for one or a resourceVersion that is too old, 504 for a
                resourceVersion from the future.
        """
        if options.continue_token:
            token = _decode_token(options.continue_token)
            snapshot = self._snapshots.get(token.snapshot)
            if snapshot is None or snapshot.revision < self._store.oldest(resource):
                raise expired_token()
            return self._page(resource, snapshot, token.snapshot, token.offset, options.limit)
        self._check_version(resource, options)
        found = self._store.records(resource, namespace)
        if selector:
            found = (record for record in found if selector.matches(record.fields, record.labels))
        snapshot = _Snapshot(self._store.revision, tuple(found))
        self._next += 1
        return self._page(resource, snapshot, self._next, 0, options.limit)

    def expire_tokens(self) -> None:
        """Forget every snapshot: all continue tokens answer 410 from now on."""
        self._snapshots.clear()

    def _page(self, resource: ApiResource, snapshot: _Snapshot, number: int, offset: int, limit: int) -> bytes:
        end = offset + limit if limit else len(snapshot.records)
        metadata: dict[str, str | int] = {"resourceVersion": str(snapshot.revision)}
        if end < len(snapshot.records):
            self._keep(number, snapshot)
            metadata["continue"] = base64.urlsafe_b64encode(msgspec.json.encode(_Token(number, end))).decode()
            metadata["remainingItemCount"] = len(snapshot.records) - end
        return b'{"kind":"%bList","apiVersion":"%b","metadata":%b,"items":[%b]}\n' % (
            resource.kind.encode(),
            resource.api_version.encode(),
            msgspec.json.encode(metadata),
            b",".join([record.raw for record in snapshot.records[offset:end]]),
        )

    def _keep(self, number: int, snapshot: _Snapshot) -> None:
        self._snapshots[number] = snapshot
        while len(self._snapshots) > _SNAPSHOTS_KEPT:
            del self._snapshots[next(iter(self._snapshots))]

    def _check_version(self, resource: ApiResource, options: ListOptions) -> None:
        if not options.resource_version or options.resource_version == "0":
            return
        wanted = parse_digits(options.resource_version)
        if wanted is None:
            raise StatusError(400, f"resourceVersion {options.resource_version!r}: expected a number")
        if wanted > self._store.revision:
            raise StatusError(504, f"Timeout: Too large resource version: {wanted}, current: {self._store.revision}")
        if options.match == "Exact" and wanted < self._store.changed_at(resource):
            raise expired(wanted, self._store.changed_at(resource))


def _decode_token(text: str) -> _Token:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text), type=_Token)
    except (ValueError, msgspec.MsgspecError) as error:
        raise StatusError(400, f"continue key is not valid: {error}") from error
