"""From what a pod's spec says of nodes and what a node says of itself to whether kube-scheduler would consider it.

Follows the plugins NodeUnschedulable, TaintToleration and NodeAffinity (k8s.io/component-helpers/scheduling/corev1).
What else a spec may ask of its node (pod affinity, topology spread, volumes, host ports, devices) is not judged here:
`Constraints.unchecked` names it, so that whoever answers can say so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

NODE_NAME_FIELD = "metadata.name"
_BLOCKING = ("NoSchedule", "NoExecute")


class Ineligible(Enum):
    """Why kube-scheduler passes over a node, in its own words."""

    UNSCHEDULABLE = "node(s) were unschedulable"
    TAINT = "node(s) had untolerated taint(s)"
    SELECTOR = "node(s) didn't match Pod's node affinity/selector"


@dataclass(frozen=True, slots=True)
class Taint:
    """One taint of a node."""

    key: str
    value: str = ""
    effect: str = "NoSchedule"

    @property
    def blocks(self) -> bool:
        """Whether it keeps pods off, rather than merely making the node less liked."""
        return self.effect in _BLOCKING


CORDON = Taint("node.kubernetes.io/unschedulable")
"""Whoever tolerates this may go to a cordoned node."""


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
            return _compares(self.operator, taint.value, self.value)
        return self.operator == "Exists" or self.value == taint.value


@dataclass(frozen=True, slots=True)
class Expression:
    """One requirement on a label or field: In, NotIn, Exists, DoesNotExist, Gt or Lt; any other never holds."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def holds(self, entries: Mapping[str, str]) -> bool:
        """Whether `entries` meet it."""
        value = entries.get(self.key)
        match self.operator:
            case "In":
                return value in self.values
            case "NotIn":
                return value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
            case "Gt" | "Lt":
                return len(self.values) == 1 and _compares(self.operator, value or "", self.values[0])
            case _:
                return False


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
    """What a pod asks of its node beside resources.

    Args:
        selector: the node selector, as sorted pairs.
        terms: the required node affinity, of which one term must match; None without any.
        tolerations: taints that it bears.
        unchecked: what else it asks, by the names of the fields of the spec; nobody judges that here.
    """

    selector: tuple[tuple[str, str], ...] = ()
    terms: tuple[SelectorTerm, ...] | None = None
    tolerations: tuple[Toleration, ...] = ()
    unchecked: tuple[str, ...] = ()


ANYWHERE = Constraints()


@dataclass(frozen=True, slots=True)
class NodeTraits:
    """What a node says of itself beside its resources.

    Args:
        name: its name.
        labels: its labels.
        taints: its taints.
        unschedulable: whether it is cordoned.
        most_pods: pods that it takes; None when it does not say.
    """

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    unschedulable: bool = False
    most_pods: int | None = None


def ineligible(constraints: Constraints, node: NodeTraits) -> Ineligible | None:
    """Why kube-scheduler would not consider `node` for the pod, in its plugins' order; None when it would."""
    bearing = constraints.tolerations
    if node.unschedulable and not any(one.tolerates(CORDON) for one in bearing):
        return Ineligible.UNSCHEDULABLE
    for taint in node.taints:
        if taint.blocks and not any(one.tolerates(taint) for one in bearing):
            return Ineligible.TAINT
    if any(node.labels.get(key) != value for key, value in constraints.selector):
        return Ineligible.SELECTOR
    if constraints.terms is not None and not any(term.matches(node) for term in constraints.terms):
        return Ineligible.SELECTOR
    return None


def _compares(operator: str, value: str, bound: str) -> bool:
    """Whether `value` is less (Lt) or greater (Gt) than `bound`; what is no number is neither."""
    try:
        one, other = int(value), int(bound)
    except ValueError:
        return False
    return one > other if operator == "Gt" else one < other
