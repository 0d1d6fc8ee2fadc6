"""Applies kube-scheduler's own filters and scores to values: node totals, topology spread, least allocated.

Sources: the plugins NodeResourcesFit, PodTopologySpread and LeastAllocated with their texts
(k8s.io/kubernetes/pkg/scheduler/framework/plugins); taints, selectors and affinity are `extender.capacity.eligibility`.
Of topology spread only `whenUnsatisfiable: DoNotSchedule` with maxSkew, topologyKey and labelSelector is looked at, and
no preemption is tried for its sake. Pure.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from bench.simulated.pod_demand import pod_demand
from extender.capacity.eligibility import ANYWHERE, Constraints, HostMisfit, NodeTraits, ineligible
from extender.contract.expressions import Expression
from extender.contract.names import Names
from extender.contract.quantity import parse_milli_quantity, parse_quantity
from extender.kube.objects import NodeObject, PodObject
from extender.kubectl.cluster.traits import constraints_of, node_traits

Body = Mapping[str, Any]
# What NodeResourcesFit counts for scoring where a pod requests nothing.
_LEAST_CPU_MILLI = 100
_LEAST_MEMORY = 200 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PodView:
    """A pod as the scheduler sees it; `demand` in thousandths of a core for cpu, in each resource's unit else."""

    uid: str
    namespace: str
    name: str
    priority: int
    demand: Mapping[str, int]
    body: Body
    constraints: Constraints = ANYWHERE

    @property
    def preempts(self) -> bool:
        """Whether it may preempt others."""
        return bool(self.body["spec"].get("preemptionPolicy") != "Never")


def view_of(body: Body) -> PodView:
    """A pod from the API server."""
    metadata, spec = body["metadata"], body["spec"]
    return PodView(
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        priority=spec.get("priority") or 0,
        demand={name: amount for name, amount in pod_demand(spec).items() if amount},
        body=body,
        constraints=constraints_of(msgspec.convert(body, PodObject), Names()),
    )


@dataclass(slots=True)
class NodeState:
    """A node and the pods on it, assumed ones among them."""

    name: str
    traits: NodeTraits
    allocatable: Mapping[str, int]
    pods: dict[str, PodView] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)

    def add(self, pod: PodView) -> None:
        """Count a pod; one that is known is replaced."""
        self.remove(pod.uid)
        self.pods[pod.uid] = pod
        for name, amount in pod.demand.items():
            self.used[name] = self.used.get(name, 0) + amount

    def remove(self, uid: str) -> None:
        """Stop counting a pod."""
        pod = self.pods.pop(uid, None)
        if pod is not None:
            for name, amount in pod.demand.items():
                self.used[name] -= amount


def node_state(body: Body) -> NodeState:
    """An empty node from the API server."""
    allocatable = (body.get("status") or {}).get("allocatable") or {}
    return NodeState(
        name=body["metadata"]["name"],
        traits=node_traits(msgspec.convert(body, NodeObject)),
        allocatable={
            name: parse_milli_quantity(amount) if name == "cpu" else parse_quantity(amount)
            for name, amount in allocatable.items()
        },
    )


@dataclass(frozen=True, slots=True)
class NativeMisfit:
    """Why a node does not take a pod; `resolvable` when fewer pods on it would help."""

    reasons: tuple[str, ...]
    resolvable: bool = False


def misfit(pod: PodView, node: NodeState) -> NativeMisfit | None:
    """Why a node does not take the pod, in kube-scheduler's order and words; None when it does."""
    passed_over = ineligible(pod.constraints, node.traits)
    if passed_over is not None:
        return NativeMisfit((passed_over.text,))
    reasons = []
    resolvable = True
    if len(node.pods) + 1 > node.allocatable.get("pods", 0):
        reasons.append(HostMisfit.TOO_MANY_PODS.text)
    for name, amount in pod.demand.items():
        offered = node.allocatable.get(name, 0)
        if node.used.get(name, 0) + amount > offered:
            reasons.append(f"Insufficient {name}")
            resolvable = resolvable and amount <= offered
    return NativeMisfit(tuple(reasons), resolvable) if reasons else None


_UNEVEN = NativeMisfit(("node(s) didn't match pod topology spread constraints",))
_NO_LABEL = NativeMisfit(("node(s) didn't match pod topology spread constraints (missing required label)",))


def spread_misfits(pod: PodView, nodes: Collection[NodeState]) -> dict[str, NativeMisfit]:
    """Why nodes do not take the pod, by name; empty for a pod without constraints."""
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


def least_allocated(pod: PodView, node: NodeState) -> float:
    """0 for a node that the pod fills, 100 for one that stays empty: the mean over cpu and memory."""
    scores = []
    for name, least in (("cpu", _LEAST_CPU_MILLI), ("memory", _LEAST_MEMORY)):
        offered = node.allocatable.get(name, 0)
        used = node.used.get(name, 0) + max(pod.demand.get(name, 0), least)
        scores.append(100.0 * max(0, offered - used) / offered if offered else 0.0)
    return sum(scores) / len(scores)


def fit_error(nodes: int, reasons: Mapping[str, int], addition: str = "") -> str:
    """The text of the PodScheduled condition and of the FailedScheduling event; `reasons` with how many nodes."""
    if not nodes:
        return "no nodes available to schedule pods"
    listed = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
    return f"0/{nodes} nodes are available: {listed}.{' ' if addition else ''}{addition}"
