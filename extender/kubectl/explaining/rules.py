"""Finds the rules of kube-scheduler itself that keep a pod off a node, with what exactly, and what would help."""

from collections.abc import Iterator
from dataclasses import dataclass

from extender.capacity.eligibility import (
    CORDON,
    Constraints,
    HostMisfit,
    NodeTraits,
    SelectorTerm,
    shortfalls,
)
from extender.contract.expressions import Expression
from extender.kubectl.explaining.causes import Cause
from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.nodes.node import NodeInfo

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that keeps the pod off, with what exactly, and what would help."""

    cause: Cause
    what: str
    help: str


def rules_against(constraints: Constraints, record: PodRecord, traits: NodeTraits, info: NodeInfo) -> tuple[Rule, ...]:
    """Every such rule, in kube-scheduler's order; none when the node is open to the pod."""
    return (*_taints(constraints, traits), *_selection(constraints, traits), *_resources(record, traits, info))


def _taints(constraints: Constraints, traits: NodeTraits) -> Iterator[Rule]:
    if traits.unschedulable and not constraints.tolerates_cordons():
        yield Rule(Cause.NODE_CORDONED, "the node is cordoned", f"kubectl uncordon {traits.name}")
    for taint in constraints.untolerated(traits):
        if traits.unschedulable and taint.key == CORDON.key:
            continue
        written = f"{taint.key}={taint.value}:{taint.effect}" if taint.value else f"{taint.key}:{taint.effect}"
        yield Rule(
            Cause.TAINT,
            f"taint {written}",
            f"add a toleration of {written} to the pod, or remove the taint: "
            f"kubectl taint node {traits.name} {written}-",
        )


def _selection(constraints: Constraints, traits: NodeTraits) -> Iterator[Rule]:
    for key, value in constraints.selector:
        there = traits.labels.get(key)
        if there != value:
            has = f"no label {key}" if there is None else f"{key}={there}"
            yield Rule(
                Cause.NODE_SELECTOR,
                f"nodeSelector {key}={value}, the node has {has}",
                f"label a node that has room with {key}={value}, or remove that nodeSelector from the pod",
            )
    if not constraints.is_affine(traits):
        wanted = " or ".join(map(_term, constraints.terms or ()))
        yield Rule(
            Cause.NODE_AFFINITY,
            f"node affinity requires {wanted or 'nothing that can be met'}",
            "label a node that has room accordingly, or change the pod's node affinity",
        )


def _term(term: SelectorTerm) -> str:
    return " and ".join(map(_expression, (*term.labels, *term.fields)))


def _expression(expression: Expression) -> str:
    return f"{expression.key} {expression.operator} {','.join(expression.values)}".rstrip()


def _resources(record: PodRecord, traits: NodeTraits, info: NodeInfo) -> Iterator[Rule]:
    free_mib = info.memory_free_bytes // _MIB
    for misfit in shortfalls(info, traits, record.cpu_milli, record.memory_bytes):
        match misfit:
            case HostMisfit.TOO_MANY_PODS:
                yield Rule(
                    Cause.TOO_MANY_PODS,
                    f"{len(info.holders)} pods there, {traits.most_pods} allowed",
                    f"fewer pods on {info.name}, or a higher maxPods in its kubelet's configuration",
                )
            case HostMisfit.CPU:
                yield Rule(
                    Cause.HOST_CPU,
                    f"{record.cpu_milli}m CPU requested, {info.cpu_free_milli}m of {info.record.cpu_milli}m free",
                    f"a CPU request of at most {info.cpu_free_milli}m, or fewer pods on {info.name}",
                )
            case HostMisfit.MEMORY:
                yield Rule(
                    Cause.HOST_MEMORY,
                    f"{record.memory_bytes // _MIB}Mi of memory requested, {free_mib}Mi free",
                    f"a memory request of at most {free_mib}Mi, or fewer pods on {info.name}",
                )
