"""From the watch on this Node to those who act on it: the inventory's reporter, and the GPUs cordoned by hand."""

import logging
from collections.abc import Iterable, Sequence

from device_plugin.eventing import Events
from device_plugin.pods.decoding import DecodingError, decode_node
from device_plugin.sampling.feed import GpuFeed
from device_plugin.sampling.supervising import SupervisedSource
from device_plugin.watching import Handler
from extender.contract.cordon import CordonError, parse_cordon, unknown_in
from extender.contract.names import Names

_LOG = logging.getLogger(__name__)

BAD_CORDON = "GPUCordonUnreadable"


class Fanout:
    """Hands every piece of news to each of some handlers, in their order."""

    def __init__(self, handlers: Sequence[Handler]) -> None:
        self._handlers = handlers

    def replace(self, items: Iterable[bytes]) -> None:
        """These are all objects."""
        everything = list(items)
        for handler in self._handlers:
            handler.replace(everything)

    def apply(self, kind: str, body: bytes) -> None:
        """One was ADDED, MODIFIED or DELETED."""
        for handler in self._handlers:
            handler.apply(kind, body)


class CordonWatch:
    """Follows the cordon annotation of one Node; one that cannot be read changes nothing and is reported."""

    def __init__(
        self, *, node_name: str, names: Names, source: SupervisedSource, feed: GpuFeed, events: Events
    ) -> None:
        self._node_name = node_name
        self._names = names
        self._source = source
        self._feed = feed
        self._events = events
        self._text: str | None = None

    def replace(self, items: Iterable[bytes]) -> None:
        """Take the list of nodes: this one, or none."""
        for body in items:
            self._take(body)

    def apply(self, kind: str, body: bytes) -> None:
        """Take an event of the Node; a deleted one leaves things as they are."""
        if kind != "DELETED":
            self._take(body)

    def _take(self, body: bytes) -> None:
        try:
            node = decode_node(body, self._names)
        except DecodingError:
            return  # the reporter of the inventory says it
        if node.name != self._node_name or node.cordon == self._text:
            return
        self._text = node.cordon
        try:
            wanted = parse_cordon(node.cordon or "")
        except CordonError as error:
            _LOG.error("annotation %s changes nothing: %s", self._names.cordon_annotation, error)
            self._events.about_node("Warning", BAD_CORDON, str(error))
            return
        gpus = self._feed.gpus
        strangers = () if gpus is None else unknown_in(wanted, [gpu.uuid for gpu in gpus])
        if strangers:
            text = f"cordon names {', '.join(strangers)}, which this node has not"
            _LOG.warning("annotation %s: %s", self._names.cordon_annotation, text)
            self._events.about_node("Warning", BAD_CORDON, text)
        if self._source.cordon(wanted):
            _LOG.info("GPUs cordoned by hand: %s", ", ".join(sorted(wanted)) or "none")
            self._feed.soon()
