"""kube-scheduler's own filters and scores on values: node totals, taints, selectors, least allocated.

Sources: the plugins NodeResourcesFit, NodeUnschedulable, TaintToleration and NodeAffinity with their texts
(k8s.io/kubernetes/pkg/scheduler/framework/plugins). Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.simulated.pod_demand import pod_demand
from extender.contract.quantity import parse_milli_quantity, parse_quantity

Body = Mapping[str, Any]
_BLOCKING = ("NoSchedule", "NoExecute")
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

    @property
    def preempts(self) -> bool:
        """Whether it may make others leave."""
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
    )


@dataclass(slots=True)
class NodeState:
    """A node and the pods on it, assumed ones among them."""

    name: str
    labels: Mapping[str, str]
    taints: Sequence[Body]
    unschedulable: bool
    allocatable: Mapping[str, int]
    pods: dict[str, PodView] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)

    def add(self, pod: PodView) -> None:
        """Count a pod; one that is there is counted once, as it is now."""
        self.remove(pod.uid)
        self.pods[pod.uid] = pod
        for name, amount in pod.demand.items():
            self.used[name] = self.used.get(name, 0) + amount

    def remove(self, uid: str) -> None:
        """Count a pod no more."""
        pod = self.pods.pop(uid, None)
        if pod is not None:
            for name, amount in pod.demand.items():
                self.used[name] -= amount


def node_state(body: Body) -> NodeState:
    """An empty node from the API server."""
    spec = body.get("spec") or {}
    allocatable = (body.get("status") or {}).get("allocatable") or {}
    return NodeState(
        name=body["metadata"]["name"],
        labels=body["metadata"].get("labels") or {},
        taints=[taint for taint in spec.get("taints") or [] if taint.get("effect") in _BLOCKING],
        unschedulable=bool(spec.get("unschedulable")),
        allocatable={
            name: parse_milli_quantity(amount) if name == "cpu" else parse_quantity(amount)
            for name, amount in allocatable.items()
        },
    )


@dataclass(frozen=True, slots=True)
class Misfit:
    """Why a node does not take a pod; `resolvable` when fewer pods on it would help."""

    reasons: tuple[str, ...]
    resolvable: bool = False


def misfit(pod: PodView, node: NodeState) -> Misfit | None:
    """What speaks against a node in kube-scheduler's order and words; None when it takes the pod."""
    spec = pod.body["spec"]
    if node.unschedulable:
        return Misfit(("node(s) were unschedulable",))
    if node.taints and not all(_tolerated(taint, spec.get("tolerations") or []) for taint in node.taints):
        return Misfit(("node(s) had untolerated taint(s)",))
    if not selected(spec, node.labels, node.name):
        return Misfit(("node(s) didn't match Pod's node affinity/selector",))
    reasons = []
    resolvable = True
    if len(node.pods) + 1 > node.allocatable.get("pods", 0):
        reasons.append("Too many pods")
    for name, amount in pod.demand.items():
        offered = node.allocatable.get(name, 0)
        if node.used.get(name, 0) + amount > offered:
            reasons.append(f"Insufficient {name}")
            resolvable = resolvable and amount <= offered
    return Misfit(tuple(reasons), resolvable) if reasons else None


def _tolerated(taint: Body, tolerations: Sequence[Body]) -> bool:
    for toleration in tolerations:
        if toleration.get("effect") not in (None, "", taint.get("effect")):
            continue
        if toleration.get("key") not in (None, "", taint["key"]):
            continue
        if toleration.get("operator") == "Exists":
            return True
        if toleration.get("key") and toleration.get("value", "") == taint.get("value", ""):
            return True
    return False


def selected(spec: Body, labels: Mapping[str, str], name: str) -> bool:
    """Whether a pod's nodeSelector and required node affinity accept a node of this name with these labels."""
    wanted = spec.get("nodeSelector") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    if affinity is None:
        return True
    return any(
        all(label_holds(term, labels) for term in terms.get("matchExpressions") or [])
        and all(label_holds(term, {"metadata.name": name}) for term in terms.get("matchFields") or [])
        for terms in affinity.get("nodeSelectorTerms") or []
    )


def label_holds(term: Body, entries: Mapping[str, str]) -> bool:
    """Whether labels (or fields) satisfy one matchExpression."""
    value = entries.get(term["key"])
    match term.get("operator"):
        case "In":
            return value in (term.get("values") or [])
        case "NotIn":
            return value not in (term.get("values") or [])
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case _:
            return False


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
