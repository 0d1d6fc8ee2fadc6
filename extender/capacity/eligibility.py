"""Matches taints, node selectors, node affinity and room on the host as kube-scheduler itself does.

Follows the plugins NodeUnschedulable, TaintToleration, NodeAffinity (k8s.io/component-helpers/scheduling/corev1) and
NodeResourcesFit. What else a spec may ask of its node (pod affinity, topology spread, volumes, host ports, devices) is
not judged here: `Constraints.unchecked` names it, so that an answer can mention it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from extender.contract.expressions import Expression, compares
from extender.scheduling.nodes.node import NodeInfo

NODE_NAME_FIELD = "metadata.name"
_BLOCKING = ("NoSchedule", "NoExecute")


class HostMisfit(Enum):
    """Why kube-scheduler itself does not place a pod on a node, whatever GPUs it has; the value is its own sentence."""

    UNSCHEDULABLE = "node(s) were unschedulable"
    TAINT = "node(s) had untolerated taint(s)"
    SELECTOR = "node(s) didn't match Pod's node affinity/selector"
    TOO_MANY_PODS = "Too many pods"
    CPU = "Insufficient cpu"
    MEMORY = "Insufficient memory"

    @property
    def text(self) -> str:
        """The sentence."""
        return self.value


@dataclass(frozen=True, slots=True)
class Taint:
    """One taint of a node."""

    key: str
    value: str = ""
    effect: str = "NoSchedule"

    @property
    def blocks(self) -> bool:
        """Whether it keeps pods off the node, rather than only lowering its score."""
        return self.effect in _BLOCKING


CORDON = Taint("node.kubernetes.io/unschedulable")
"""A pod that tolerates this taint may go to a cordoned node."""


@dataclass(frozen=True, slots=True)
class Toleration:
    """One toleration of a pod; an empty key with `Exists` tolerates everything, an empty effect any effect.

    `Lt` and `Gt` compare numbers: the taint's value must be less or greater than the toleration's (KEP-5471).
    """

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""

    def tolerates(self, taint: Taint) -> bool:
        """Whether this one is enough for `taint`."""
        if self.effect and self.effect != taint.effect:
            return False
        if self.key != taint.key and (self.key or self.operator != "Exists"):
            return False
        if self.operator in ("Lt", "Gt"):
            return compares(self.operator, taint.value, self.value)
        return self.operator == "Exists" or self.value == taint.value


@dataclass(frozen=True, slots=True)
class SelectorTerm:
    """A node selector term: all of its expressions must hold; one without any matches nothing."""

    labels: tuple[Expression, ...] = ()
    fields: tuple[Expression, ...] = ()

    def matches(self, node: "NodeTraits") -> bool:
        """Whether the node is one of those meant."""
        if not self.labels and not self.fields:
            return False
        return all(one.holds(node.labels) for one in self.labels) and all(
            one.holds({NODE_NAME_FIELD: node.name}) for one in self.fields
        )


@dataclass(frozen=True, slots=True)
class Constraints:
    """What a pod asks of its node besides resources.

    Args:
        selector: the node selector, as sorted pairs.
        terms: the required node affinity, of which one term must match; None without any.
        tolerations: taints that it tolerates.
        unchecked: what else it asks, by the names of the spec's fields; it is not judged here.
    """

    selector: tuple[tuple[str, str], ...] = ()
    terms: tuple[SelectorTerm, ...] | None = None
    tolerations: tuple[Toleration, ...] = ()
    unchecked: tuple[str, ...] = ()

    def untolerated(self, node: "NodeTraits") -> list[Taint]:
        """The taints that keep the pod off `node`."""
        return [
            taint for taint in node.taints if taint.blocks and not any(one.tolerates(taint) for one in self.tolerations)
        ]

    def tolerates_cordons(self) -> bool:
        """Whether the pod may go to a cordoned node."""
        return any(one.tolerates(CORDON) for one in self.tolerations)

    def is_affine(self, node: "NodeTraits") -> bool:
        """Whether the required node affinity accepts `node`."""
        return self.terms is None or any(term.matches(node) for term in self.terms)

    def selects(self, node: "NodeTraits") -> bool:
        """Whether the node selector and the required node affinity accept `node`."""
        return all(node.labels.get(key) == value for key, value in self.selector) and self.is_affine(node)


ANYWHERE = Constraints()


@dataclass(frozen=True, slots=True)
class NodeTraits:
    """What a node says of itself besides its resources.

    Args:
        name: its name.
        labels: its labels.
        taints: its taints.
        unschedulable: whether it is cordoned.
        most_pods: pods that it takes; None where that is unknown.
    """

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    unschedulable: bool = False
    most_pods: int | None = None


def ineligible(constraints: Constraints, node: NodeTraits) -> HostMisfit | None:
    """Why kube-scheduler would not consider `node` for the pod, in its plugins' order; None when it would."""
    if node.unschedulable and not constraints.tolerates_cordons():
        return HostMisfit.UNSCHEDULABLE
    if constraints.untolerated(node):
        return HostMisfit.TAINT
    return None if constraints.selects(node) else HostMisfit.SELECTOR


def shortfalls(node: NodeInfo, traits: NodeTraits, cpu_milli: int, memory_bytes: int) -> list[HostMisfit]:
    """What the host lacks for one more pod that asks for this much."""
    found = []
    if traits.most_pods is not None and len(node.holders) >= traits.most_pods:
        found.append(HostMisfit.TOO_MANY_PODS)
    if node.cpu_free_milli < cpu_milli:
        found.append(HostMisfit.CPU)
    if node.memory_free_bytes < memory_bytes:
        found.append(HostMisfit.MEMORY)
    return found
