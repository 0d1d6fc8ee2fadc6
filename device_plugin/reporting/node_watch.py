"""Follows the watch on this Node: tells who needs its state, takes the inventory of before, and applies cordons."""

import logging
from collections.abc import Sequence
from typing import Protocol

from device_plugin.gpus.remembering import EarlierGpus
from device_plugin.pods.decoding import NodeNotes, decode_node
from device_plugin.pods.events import Events
from device_plugin.sampling.feed import GpuFeed
from device_plugin.sampling.supervising import SupervisedSource
from extender.contract.cordon import CordonError, names_of, parse_cordon, unknown_in
from extender.contract.inventory import parse_inventory
from extender.contract.names import Names
from extender.contract.units import ContractError
from extender.kube.objects import Identity

_LOG = logging.getLogger(__name__)

BAD_CORDON = "GPUCordonUnreadable"


class NodeFollower(Protocol):
    """Follows the state of one Node."""

    def take(self, node: NodeNotes) -> None:
        """Take the newest state of the Node."""
        ...

    def gone(self) -> None:
        """Note that the Node is gone."""
        ...


class OwnNodeSink:
    """A reflector's sink for one Node, which tells each of some followers, in order."""

    def __init__(self, node_name: str, names: Names, followers: Sequence[NodeFollower]) -> None:
        self._node_name = node_name
        self._names = names
        self._followers = followers

    def read(self, raw: bytes) -> NodeNotes:
        """Decode one Node.

        Raises:
            DecodeError: not a Node.
        """
        return decode_node(raw, self._names)

    def replaced(
        self,
        records: Sequence[NodeNotes],
        unreadable: Sequence[Identity],
        resource_version: str,  # noqa: ARG002 - the reflector's
        *,
        rewound: bool,  # noqa: ARG002 - the same
    ) -> None:
        """Take the list of nodes: this one, or none; one that cannot be read stays as it was."""
        if self._node_name not in {each.name for each in records} | {each.name for each in unreadable}:
            self._tell_gone()
        for node in records:
            self.changed(node)

    def changed(self, record: NodeNotes) -> None:
        """Take the newest state of the Node."""
        if record.name == self._node_name:
            for follower in self._followers:
                follower.take(record)

    def deleted(self, identity: Identity) -> None:
        """Note that the Node is gone."""
        if identity.name == self._node_name:
            self._tell_gone()

    def _tell_gone(self) -> None:
        for follower in self._followers:
            follower.gone()


class InventoryMemory:
    """Takes from the Node what an earlier run of the plugin published, before this one writes over it."""

    def __init__(self, names: Names, earlier: EarlierGpus, feed: GpuFeed) -> None:
        self._names = names
        self._earlier = earlier
        self._feed = feed
        self._has_looked = False

    def gone(self) -> None:
        """Keep what is known: the Node may come back."""

    def take(self, node: NodeNotes) -> None:
        """Take the inventory of the first state of the Node that is seen; one that cannot be read says nothing."""
        if self._has_looked:
            return
        self._has_looked = True
        try:
            inventory = None if node.inventory is None else parse_inventory(node.inventory)
        except ContractError as error:
            _LOG.warning("annotation %s of before is ignored: %s", self._names.inventory_annotation, error)
            return
        if inventory is not None:
            self._earlier.restore(inventory)
            self._feed.soon()

    def look_again(self) -> bool:
        """Have the GPUs sampled if pods have some that only the earlier inventory names; whether that is so."""
        gpus = self._feed.gpus
        is_missing = gpus is not None and bool(self._earlier.missing(gpus))
        if is_missing:
            self._feed.soon()
        return is_missing


class CordonWatch:
    """Applies the cordon annotation of the Node; one that cannot be read changes nothing and is reported."""

    def __init__(self, *, names: Names, source: SupervisedSource, feed: GpuFeed, events: Events) -> None:
        self._names = names
        self._source = source
        self._feed = feed
        self._events = events
        self._text: str | None = None

    def gone(self) -> None:
        """Keep the cordons: the Node may come back."""

    def take(self, node: NodeNotes) -> None:
        """Apply the annotation if it changed."""
        if node.cordon == self._text:
            return
        self._text = node.cordon
        try:
            wanted = parse_cordon(node.cordon or "")
        except CordonError as error:
            _LOG.error("annotation %s is ignored: %s", self._names.cordon_annotation, error)
            self._events.about_node("Warning", BAD_CORDON, str(error))
            return
        gpus = self._feed.gpus
        names = [name for gpu in gpus or () for name in names_of(gpu.uuid, gpu.mig)]
        unknown = () if gpus is None else unknown_in(wanted, names)
        if unknown:
            text = f"cordon names {', '.join(unknown)}, which this node does not have"
            _LOG.warning("annotation %s: %s", self._names.cordon_annotation, text)
            self._events.about_node("Warning", BAD_CORDON, text)
        if self._source.cordon(wanted):
            _LOG.info("GPUs cordoned by hand: %s", ", ".join(sorted(wanted)) or "none")
            self._feed.soon()
