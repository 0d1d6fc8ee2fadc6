"""From the reflectors' raw lists and changes to ledger events: decodes, and hands on to the state."""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from extender.decoding import DecodeError, Decoder
from extender.scheduling.events import (
    NodeChanged,
    NodeDeleted,
    NodesListed,
    PodChanged,
    PodDeleted,
    PodRecord,
    PodsListed,
)
from extender.state import State

_LOG = logging.getLogger(__name__)
_Record = TypeVar("_Record")
MAX_LOGGED = 3


class NodeSink:
    """Takes the node reflector's news."""

    def __init__(self, state: State, decoder: Decoder) -> None:
        self._state = state
        self._decoder = decoder

    def replaced(self, items: Sequence[bytes], resource_version: str) -> None:
        """All nodes."""
        nodes = _decoded(items, self._decoder.node)
        self._state.apply(NodesListed(nodes, int(resource_version)))

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

    def replaced(self, items: Sequence[bytes], resource_version: str) -> None:
        """All pods."""
        pods = _decoded(items, self._decoder.pod)
        self._state.apply(PodsListed(pods, int(resource_version)))
        self._observe(pods)

    def changed(self, kind: str, raw: bytes) -> None:
        """One pod."""
        pod = self._decoder.pod(raw)
        if kind == "DELETED":
            self._state.apply(PodDeleted(pod.uid))
        else:
            self._state.apply(PodChanged(pod))
            self._observe((pod,))


def _decoded(items: Sequence[bytes], decode: Callable[[bytes], _Record]) -> tuple[_Record, ...]:
    """Decode each; one object that cannot be read does not hide the others."""
    records: list[_Record] = []
    failures = 0
    for item in items:
        try:
            records.append(decode(item))
        except DecodeError as error:
            failures += 1
            if failures <= MAX_LOGGED:
                _LOG.error("an object in a list can't be read and is left out: %s", error)
    if failures > MAX_LOGGED:
        _LOG.error("%d more objects of the list can't be read", failures - MAX_LOGGED)
    return tuple(records)
