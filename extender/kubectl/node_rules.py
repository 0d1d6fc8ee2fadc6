"""From a pod and a node to kube-scheduler's own rules that keep the one off the other, whatever the GPUs say.

Sources: the plugins NodeUnschedulable, TaintToleration, NodeAffinity and NodeResourcesFit
(k8s.io/kubernetes/pkg/scheduler/framework/plugins) and k8s.io/component-helpers/scheduling/corev1/nodeaffinity.
Only what Node and Pod objects alone decide: ports, volumes and affinity between pods are left to its own words.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from extender.kubectl.causes import Cause
from extender.kubectl.objects import NodeObject, PodObject, Requirement, Taint, Term, Toleration
from extender.scheduling.events import PodRecord
from extender.scheduling.node import NodeInfo

UNSCHEDULABLE_TAINT = Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")
_BLOCKING = ("NoSchedule", "NoExecute")
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that keeps the pod off, with what exactly, and what would help."""

    cause: Cause
    what: str
    help: str


def rules_against(pod: PodObject, record: PodRecord, node: NodeObject, info: NodeInfo) -> tuple[Rule, ...]:
    """Every such rule, in kube-scheduler's order; none when the node is open to the pod."""
    return (*_taints(pod, node), *_selection(pod, node), *_resources(record, info))


def _taints(pod: PodObject, node: NodeObject) -> Iterator[Rule]:
    tolerations = pod.spec.tolerations or []
    name = node.metadata.name
    if node.spec.unschedulable and not any(_tolerates(each, UNSCHEDULABLE_TAINT) for each in tolerations):
        yield Rule(Cause.NODE_CORDONED, "the node is cordoned", f"kubectl uncordon {name}")
    for taint in node.spec.taints or []:
        if taint.effect not in _BLOCKING or (node.spec.unschedulable and taint.key == UNSCHEDULABLE_TAINT.key):
            continue
        if not any(_tolerates(each, taint) for each in tolerations):
            written = f"{taint.key}={taint.value}:{taint.effect}" if taint.value else f"{taint.key}:{taint.effect}"
            yield Rule(
                Cause.TAINT,
                f"taint {written}",
                f"a toleration of {written} in the pod, or without the taint: kubectl taint node {name} {written}-",
            )


def _tolerates(toleration: Toleration, taint: Taint) -> bool:
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator == "Exists":
        return True
    if not toleration.key or toleration.operator not in ("", "Equal", "Lt", "Gt"):
        return False
    if toleration.operator in ("Lt", "Gt"):  # of numbers: taint value < or > toleration value (KEP-5471)
        there, asked = _integer(taint.value), _integer(toleration.value)
        if there is None or asked is None:
            return False
        return there < asked if toleration.operator == "Lt" else there > asked
    return toleration.value == taint.value


def _selection(pod: PodObject, node: NodeObject) -> Iterator[Rule]:
    labels = node.metadata.labels or {}
    for key, value in (pod.spec.node_selector or {}).items():
        if labels.get(key) != value:
            there = f"{key}={labels[key]}" if key in labels else f"no label {key}"
            yield Rule(
                Cause.NODE_SELECTOR,
                f"nodeSelector {key}={value}, the node has {there}",
                f"a node with room that has the label {key}={value}, or a pod without that nodeSelector",
            )
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity is not None else None
    required = affinity.required if affinity is not None else None
    if required is None:
        return
    if not any(_matches(term, node) for term in required.node_selector_terms or ()):
        wanted = " or ".join(_text_of(term) for term in required.node_selector_terms or ())
        yield Rule(
            Cause.NODE_AFFINITY,
            f"node affinity requires {wanted or 'nothing that can be met'}",
            "a node with room that has these labels, or a pod with another node affinity",
        )


def _matches(term: Term, node: NodeObject) -> bool:
    expressions, fields = term.match_expressions or [], term.match_fields or []
    if not expressions and not fields:
        return False  # an empty term selects nothing
    return all(_meets(each, (node.metadata.labels or {}).get(each.key)) for each in expressions) and all(
        _meets(each, node.metadata.name if each.key == "metadata.name" else None) for each in fields
    )


def _meets(requirement: Requirement, value: str | None) -> bool:
    values = requirement.values or []
    match requirement.operator:
        case "In":
            return value is not None and value in values
        case "NotIn":
            return value is None or value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            there, bound = _integer(value or ""), _integer(values[0] if len(values) == 1 else "")
            if there is None or bound is None:
                return False
            return there > bound if requirement.operator == "Gt" else there < bound
    return False


def _integer(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _text_of(term: Term) -> str:
    return " and ".join(_words(each) for each in (*(term.match_expressions or ()), *(term.match_fields or ())))


def _words(requirement: Requirement) -> str:
    values = ",".join(requirement.values or ())
    return f"{requirement.key} {requirement.operator} {values}".rstrip()


def _resources(record: PodRecord, info: NodeInfo) -> Iterable[Rule]:
    if record.cpu_milli > info.cpu_free_milli:
        yield Rule(
            Cause.HOST_CPU,
            f"{record.cpu_milli}m CPU requested, {info.cpu_free_milli}m of {info.record.cpu_milli}m free",
            f"a CPU request of at most {info.cpu_free_milli}m, or fewer pods on {info.name}",
        )
    if record.memory_bytes > info.memory_free_bytes:
        free_mib = info.memory_free_bytes // _MIB
        yield Rule(
            Cause.HOST_MEMORY,
            f"{record.memory_bytes // _MIB}Mi of memory requested, {free_mib}Mi free",
            f"a memory request of at most {free_mib}Mi, or fewer pods on {info.name}",
        )
