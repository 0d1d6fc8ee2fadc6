"""Defines the cluster at one generation of the ledger, as filter, prioritize, preempt and explain read it."""

from collections.abc import Mapping
from dataclasses import dataclass

from extender.scheduling.nodes.node import NodeInfo


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Nodes by name. `nodes` may be a live view: copy a snapshot to keep it after the ledger's lock is released."""

    nodes: Mapping[str, NodeInfo]
    generation: int = 0

    def copy(self) -> "Snapshot":
        """A snapshot that later events do not change."""
        return Snapshot(dict(self.nodes), self.generation)
