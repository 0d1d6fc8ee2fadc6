"""The cluster at one generation of the ledger: what filter, prioritize, preempt and explain read."""

from collections.abc import Mapping
from dataclasses import dataclass

from extender.scheduling.nodes.node import NodeInfo


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Nodes by name. `nodes` may be a live view; whoever keeps a snapshot past the ledger's lock takes a copy."""

    nodes: Mapping[str, NodeInfo]
    generation: int = 0

    def copy(self) -> "Snapshot":
        """A snapshot that later events do not change."""
        return Snapshot(dict(self.nodes), self.generation)
