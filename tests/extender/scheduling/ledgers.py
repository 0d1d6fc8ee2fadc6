"""A ledger that has seen some events, and what it knows of a node."""

from extender.scheduling.ledger.events import ClusterEvent, NodeChanged, PodChanged, PodRecord
from extender.scheduling.ledger.ledger import Ledger
from extender.scheduling.nodes.node import NodeInfo
from tests.extender.scheduling.builders import UNIT_MIB, gpus_of, record


def ledger(*events: ClusterEvent) -> Ledger:
    """A ledger that has seen these events, on a cluster of one node of 16 and 16 units."""
    known = Ledger(UNIT_MIB)
    known.apply(NodeChanged(record("node", gpus_of(16, 16), 1)))
    for event in events:
        known.apply(event)
    return known


def ledger_of(*nodes: NodeInfo) -> Ledger:
    """A ledger that has seen these nodes and the pods on them, bound; the pods of two nodes may have the same names."""
    known = Ledger(UNIT_MIB)
    for info in nodes:
        known.apply(NodeChanged(info.record))
        for holder in info.holders:
            uid = f"{holder.uid}-on-{info.name}"
            bound = PodRecord(uid, node=info.name, request=holder.request, footprint=holder.footprint)
            known.apply(PodChanged(bound))
    return known


def node_of(known: Ledger, name: str = "node") -> NodeInfo:
    """The node as it is now."""
    return known.snapshot().nodes[name]
