"""A ledger that has seen some events, and what it knows of a node."""

from extender.scheduling.ledger.events import ClusterEvent, NodeChanged
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


def node_of(known: Ledger, name: str = "node") -> NodeInfo:
    """The node as it is now."""
    return known.snapshot().nodes[name]
