"""From a pod's topologySpreadConstraints and the pods on each node to the nodes that would make the spread too uneven.

Source: the plugin PodTopologySpread with its texts (k8s.io/kubernetes/pkg/scheduler/framework/plugins). Only
`whenUnsatisfiable: DoNotSchedule` with maxSkew, topologyKey and labelSelector is looked at, and no preemption is tried
for its sake. Pure.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from bench.simulated.scheduler.native_fit import Misfit, NodeState, PodView
from extender.capacity.eligibility import Expression

Body = Mapping[str, Any]
_UNEVEN = Misfit(("node(s) didn't match pod topology spread constraints",))
_NO_LABEL = Misfit(("node(s) didn't match pod topology spread constraints (missing required label)",))


def spread_misfits(pod: PodView, nodes: Collection[NodeState]) -> dict[str, Misfit]:
    """What speaks against nodes, by name; empty for a pod without constraints."""
    constraints = [
        constraint
        for constraint in pod.body["spec"].get("topologySpreadConstraints") or []
        if constraint.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule"
    ]
    if not constraints:
        return {}
    keys = [constraint["topologyKey"] for constraint in constraints]
    eligible = [
        node
        for node in nodes
        if pod.constraints.selects(node.traits) and all(key in node.traits.labels for key in keys)
    ]
    found = {node.name: _NO_LABEL for node in nodes if any(key not in node.traits.labels for key in keys)}
    for constraint in constraints:
        for name in _uneven(pod, constraint, eligible, nodes):
            found.setdefault(name, _UNEVEN)
    return found


def _uneven(pod: PodView, constraint: Body, eligible: list[NodeState], nodes: Iterable[NodeState]) -> list[str]:
    key, selector = constraint["topologyKey"], constraint.get("labelSelector")
    counts: dict[str, int] = {}
    for node in eligible:
        matching = sum(_counts(other, pod.namespace, selector) for other in node.pods.values())
        counts[node.traits.labels[key]] = counts.get(node.traits.labels[key], 0) + matching
    least = min(counts.values(), default=0)
    itself = int(_matches(selector, pod.body["metadata"].get("labels") or {}))
    most = constraint["maxSkew"] + least - itself
    return [node.name for node in nodes if key in node.traits.labels and counts.get(node.traits.labels[key], 0) > most]


def _counts(other: PodView, namespace: str, selector: Body | None) -> bool:
    metadata = other.body["metadata"]
    if other.namespace != namespace or metadata.get("deletionTimestamp"):
        return False
    return _matches(selector, metadata.get("labels") or {})


def _matches(selector: Body | None, labels: Mapping[str, str]) -> bool:
    """Whether labels satisfy a LabelSelector; none at all selects nothing, an empty one everything."""
    if selector is None:
        return False
    exact = selector.get("matchLabels") or {}
    return all(labels.get(key) == value for key, value in exact.items()) and all(
        Expression(term["key"], term.get("operator", ""), tuple(term.get("values") or ())).holds(labels)
        for term in selector.get("matchExpressions") or []
    )
