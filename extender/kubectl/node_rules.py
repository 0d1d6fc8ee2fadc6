"""From a pod and a node to kube-scheduler's own rules that keep the one off the other, whatever the GPUs say.

Sources: the plugins NodeUnschedulable, TaintToleration, NodeAffinity and NodeResourcesFit
(k8s.io/kubernetes/pkg/scheduler/framework/plugins) and k8s.io/component-helpers/scheduling/corev1/nodeaffinity.
Only what Node and Pod objects alone decide: ports, volumes and affinity between pods are left to its own words.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from extender.capacity.eligibility import CORDON, Expression, SelectorTerm
from extender.kubectl.causes import Cause
from extender.kubectl.objects import NodeObject, PodObject
from extender.kubectl.planning import node_traits, terms_of, tolerations_of
from extender.scheduling.events import PodRecord
from extender.scheduling.node import NodeInfo

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
    tolerations = tolerations_of(pod)
    name = node.metadata.name
    if node.spec.unschedulable and not any(each.tolerates(CORDON) for each in tolerations):
        yield Rule(Cause.NODE_CORDONED, "the node is cordoned", f"kubectl uncordon {name}")
    for taint in node_traits(node).taints:
        if not taint.blocks or (node.spec.unschedulable and taint.key == CORDON.key):
            continue
        if not any(each.tolerates(taint) for each in tolerations):
            written = f"{taint.key}={taint.value}:{taint.effect}" if taint.value else f"{taint.key}:{taint.effect}"
            yield Rule(
                Cause.TAINT,
                f"taint {written}",
                f"a toleration of {written} in the pod, or without the taint: kubectl taint node {name} {written}-",
            )


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
    terms = terms_of(pod)
    if terms is not None and not any(term.matches(node_traits(node)) for term in terms):
        wanted = " or ".join(_text_of(term) for term in terms)
        yield Rule(
            Cause.NODE_AFFINITY,
            f"node affinity requires {wanted or 'nothing that can be met'}",
            "a node with room that has these labels, or a pod with another node affinity",
        )


def _text_of(term: SelectorTerm) -> str:
    return " and ".join(_words(each) for each in (*term.labels, *term.fields))


def _words(expression: Expression) -> str:
    return f"{expression.key} {expression.operator} {','.join(expression.values)}".rstrip()


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
