"""A snapshot is a view until it is copied."""

from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.nodes.snapshot import Snapshot
from tests.extender.scheduling.builders import node


def test_a_copy_does_not_change_any_more() -> None:
    """A view does."""
    nodes: dict[str, NodeInfo] = {}
    view = Snapshot(nodes, 7)
    copy = view.copy()
    nodes["node"] = node(16)
    assert (set(view.nodes), set(copy.nodes), copy.generation) == ({"node"}, set(), 7)
