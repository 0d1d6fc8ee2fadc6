"""From the reflectors' raw lists and changes to ledger events: decodes, and hands on to the state."""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from extender.decoding.decoder import Decoder
from extender.kube.objects import DecodeError
from extender.scheduling.ledger.events import (
    NodeChanged,
    NodeDeleted,
    NodesListed,
    PodChanged,
    PodDeleted,
    PodRecord,
    PodsListed,
)
from extender.scheduling.nodes.node import NodeRecord
from extender.server.state.state import State

_LOG = logging.getLogger(__name__)
_Record = TypeVar("_Record")
MAX_LOGGED = 3


class _Pages(Generic[_Record]):
    """Decodes the pages of one list after another; one object that cannot be read does not hide the others."""

    def __init__(self, decode: Callable[[bytes], _Record]) -> None:
        self._decode = decode
        self._failures = 0

    def read(self, items: Sequence[bytes]) -> list[_Record]:
        """The records of one page."""
        records: list[_Record] = []
        for item in items:
            try:
                records.append(self._decode(item))
            except DecodeError as error:
                self._failures += 1
                if self._failures <= MAX_LOGGED:
                    _LOG.error("an object in a list can't be read and is left out: %s", error)
        return records

    def end(self) -> None:
        """The list is complete: what follows belongs to another."""
        if self._failures > MAX_LOGGED:
            _LOG.error("%d more objects of the list can't be read", self._failures - MAX_LOGGED)
        self._failures = 0


class NodeSink:
    """Takes the node reflector's news."""

    def __init__(self, state: State, decoder: Decoder) -> None:
        self._state = state
        self._decoder = decoder
        self._pages = _Pages(decoder.node)

    def read(self, items: Sequence[bytes]) -> list[NodeRecord]:
        """One page of nodes."""
        return self._pages.read(items)

    def replaced(self, records: Sequence[NodeRecord], resource_version: str) -> None:
        """All nodes."""
        self._pages.end()
        self._state.apply(NodesListed(tuple(records), int(resource_version)))

    def take(self, _line: bytes) -> str:
        """Nothing: a node changes seldom."""
        return ""

    def changed(self, kind: str, raw: bytes) -> None:
        """One node."""
        node = self._decoder.node(raw)
        deleted = kind == "DELETED"
        self._state.apply(NodeDeleted(node.name, node.resource_version) if deleted else NodeChanged(node))


class PodSink:
    """Takes the pod reflector's news; `observe` is shown every pod that is not deleted, after the state is."""

    def __init__(
        self, state: State, decoder: Decoder, observe: Callable[[Iterable[PodRecord]], None] = lambda _pods: None
    ) -> None:
        self._state = state
        self._decoder = decoder
        self._observe = observe
        self._pages = _Pages(decoder.pod)

    def read(self, items: Sequence[bytes]) -> list[PodRecord]:
        """One page of pods."""
        return self._pages.read(items)

    def replaced(self, records: Sequence[PodRecord], resource_version: str) -> None:
        """All pods."""
        self._pages.end()
        self._state.apply(PodsListed(tuple(records), int(resource_version)))
        self._observe(records)

    def take(self, line: bytes) -> str:
        """The change of one pod, decoded in one pass over the line."""
        try:
            event, version = self._decoder.pod_event(line)
        except DecodeError:
            return ""
        self._state.apply(event)
        if isinstance(event, PodChanged):
            self._observe((event.pod,))
        return version

    def changed(self, kind: str, raw: bytes) -> None:
        """One pod."""
        if kind == "DELETED":
            self._state.apply(PodDeleted(self._decoder.uid(raw)))
        else:
            pod = self._decoder.pod(raw)
            self._state.apply(PodChanged(pod))
            self._observe((pod,))
