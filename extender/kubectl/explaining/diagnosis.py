"""Groups all nodes by what keeps a pod off them, those where least is missing first."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher

from extender.kubectl.cluster.view import ClusterView
from extender.kubectl.explaining.causes import Cause
from extender.kubectl.explaining.node_verdict import Asker, NodeVerdict, node_verdict
from extender.kubectl.output.texts import natural
from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.models import ModelPatterns

_LAST = {Cause.NO_PLUGIN: 1, Cause.UNIT_MISMATCH: 1, Cause.NO_GPUS: 2}
"""Nodes that would not help even if repaired are further away than those that are only full."""


@dataclass(frozen=True, slots=True)
class NodeGroup:
    """Nodes with one cause, those with the largest hole first, of a wrong model those with the most similar one.

    Args:
        cause: what they have in common.
        opens: whether the pod would fit there without it.
        verdicts: one for each node.
    """

    cause: Cause
    opens: bool
    verdicts: tuple[NodeVerdict, ...]

    @property
    def names(self) -> list[str]:
        """The nodes."""
        return [verdict.node for verdict in self.verdicts]

    def whats(self) -> list[tuple[str, int]]:
        """What exactly is in the way, and on how many nodes, the most frequent first."""
        counts = Counter(verdict.what for verdict in self.verdicts)
        return sorted(counts.items(), key=lambda item: (-item[1], item[0]))

    @property
    def nearest(self) -> NodeVerdict:
        """The node where least is missing."""
        return self.verdicts[0]

    def helps(self) -> list[str]:
        """What would help, each once, in the order of the nodes."""
        return list(dict.fromkeys(verdict.help for verdict in self.verdicts if verdict.help))


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All nodes, each in one group; the nearest group first."""

    groups: tuple[NodeGroup, ...] = ()

    @property
    def fitting(self) -> list[str]:
        """Nodes on which the pod fits."""
        return [name for group in self.groups if group.cause is Cause.FITS for name in group.names]

    @property
    def nearest(self) -> NodeGroup | None:
        """The group with the least in the way; None without nodes."""
        return self.groups[0] if self.groups else None


def diagnose(view: ClusterView, asker: Asker) -> Diagnosis:
    """Look at every node of the view."""
    verdicts = [node_verdict(view, asker, info) for info in view.snapshot.nodes.values()]
    return Diagnosis(_grouped(view, verdicts, asker.request.models))


def _grouped(view: ClusterView, verdicts: Iterable[NodeVerdict], models: ModelPatterns) -> tuple[NodeGroup, ...]:
    groups: dict[tuple[bool, int, int], list[NodeVerdict]] = {}
    for verdict in verdicts:
        closed = not verdict.opens
        distance = _LAST.get(verdict.cause, 0) if closed else 0
        groups.setdefault((closed, distance, verdict.cause.rank), []).append(verdict)

    def order(verdict: NodeVerdict) -> tuple[object, ...]:
        info = view.snapshot.nodes[verdict.node]
        unlike = -_likeness(models, info) if verdict.cause is Cause.MODEL else 0.0
        return (unlike, -max(info.free, default=0), natural(verdict.node))

    return tuple(
        NodeGroup(members[0].cause, not closed, tuple(sorted(members, key=order)))
        for (closed, _, _), members in sorted(groups.items())
    )


def _likeness(models: ModelPatterns, info: NodeInfo) -> float:
    """How much a GPU of the node resembles a model that the pod accepts, 0 to 1: its name, letter by letter."""
    return max(
        (
            SequenceMatcher(None, pattern.upper(), model.upper(), autojunk=False).ratio()
            for model in {gpu.model for gpu in info.gpus}
            for pattern in models.accepted
        ),
        default=0.0,
    )
