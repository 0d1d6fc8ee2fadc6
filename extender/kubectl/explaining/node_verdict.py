"""From one pod and one node to a NodeVerdict: whether it fits there, and if not, what exactly is in its way.

What is in the way is found by asking the shipped `fit` again as if one thing were mended: the cordoned GPUs open, the
unhealthy ones well, the device plugin serving. The first mend that makes room names the cause.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from extender.capacity.eligibility import CORDON, Expression, SelectorTerm
from extender.contract.inventory import InventoryGpu
from extender.kube.objects import NodeObject, PodObject
from extender.kubectl.cluster.traits import node_traits, terms_of, tolerations_of
from extender.kubectl.cluster.view import ClusterView
from extender.kubectl.explaining.causes import Cause, words_of
from extender.kubectl.output.gpu_rows import cordoned_on, is_labelled
from extender.scheduling.fitting.describing import explain_pending
from extender.scheduling.fitting.fitting import Fit, fit
from extender.scheduling.fitting.reasons import Misfit
from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.nodes.node import NodeInfo, NodeRecord, node_info
from extender.scheduling.nodes.snapshot import Snapshot
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Policy

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


_OF_MISFIT = {
    Misfit.UNKNOWN_NODE: Cause.NO_GPUS,
    Misfit.NO_INVENTORY: Cause.NO_GPUS,
    Misfit.UNIT_MISMATCH: Cause.UNIT_MISMATCH,
    Misfit.NO_PLUGIN: Cause.NO_PLUGIN,
    Misfit.NO_MODEL: Cause.MODEL,
    Misfit.TOO_FEW_GPUS: Cause.TOO_FEW_GPUS,
    Misfit.TOO_LARGE: Cause.TOO_LARGE,
    Misfit.UNHEALTHY: Cause.UNHEALTHY,
    Misfit.OUTSIDE: Cause.OUTSIDE,
    Misfit.NOT_IDLE: Cause.NOT_IDLE,
    Misfit.FRAGMENTED: Cause.FRAGMENTED,
    Misfit.NO_CORE: Cause.NO_CORE,
    Misfit.FULL: Cause.FULL,
}


@dataclass(frozen=True, slots=True)
class Asker:
    """The pod that looks for a place: its object, its record, what it asks for and by which policy."""

    pod: PodObject
    record: PodRecord
    request: PodRequest
    policy: Policy


@dataclass(frozen=True, slots=True)
class NodeVerdict:
    """What keeps the pod off one node.

    Args:
        node: its name.
        cause: FITS, or the first thing in the way.
        what: that in numbers and names.
        help: what would help there, empty where nothing simple would.
        opens: whether the pod would fit there without the cause.
        rules: kube-scheduler's own rules that keep the pod off the node, the cause among them or beside it.
    """

    node: str
    cause: Cause
    what: str
    help: str = ""
    opens: bool = False
    rules: tuple[Rule, ...] = ()


def node_verdict(view: ClusterView, asker: Asker, info: NodeInfo) -> NodeVerdict:
    """The verdict on `info`, a node of the view (without what the pod itself holds there)."""
    node = view.nodes[info.name]
    rules = rules_against(asker.pod, asker.record, node, info)
    answer = fit(info, asker.request, asker.policy)
    if isinstance(answer, Fit):
        if not rules:
            return NodeVerdict(info.name, Cause.FITS, "it fits", opens=True)
        first = rules[0]
        return NodeVerdict(info.name, first.cause, first.what, first.help, opens=len(rules) == 1, rules=rules)
    for cause, mended in _mends(view, info):
        if isinstance(fit(mended, asker.request, asker.policy), Fit):
            what, help_text = words_of(cause, view, asker.request, info)
            return NodeVerdict(info.name, cause, what, help_text, opens=not rules, rules=rules)
    cause = _OF_MISFIT[answer]
    if answer in (Misfit.NO_INVENTORY, Misfit.NO_PLUGIN) and not info.gpus:
        cause = Cause.NO_PLUGIN if _should_have_gpus(view, info) else Cause.NO_GPUS
        # What GPUs it has nobody knows: they may be what the pod waits for.
        opens = cause is Cause.NO_PLUGIN and not rules
    else:
        opens = False
    what, help_text = words_of(cause, view, asker.request, info)
    return NodeVerdict(info.name, cause, what, help_text, opens=opens, rules=rules)


def gpus_explained(view: ClusterView, asker: Asker, info: NodeInfo) -> list[dict[str, Any]]:
    """Each GPU of the node with numbers and why the pod does not fit on it, as the extender's `explain` has them."""
    alone = Snapshot({info.name: info})
    explained = explain_pending(alone, asker.request, asker.policy, unit_mib=view.unit_mib, limit=1)
    gpus: list[dict[str, Any]] = explained["nodes"][0]["gpus"]
    return gpus


def _mends(view: ClusterView, info: NodeInfo) -> Iterator[tuple[Cause, NodeInfo]]:
    """The node as it would be if one cause were gone, for every cause that is there."""
    record, inventory = info.record, info.record.inventory
    if inventory is None:
        return
    cordoned = cordoned_on(view, view.nodes.get(info.name))
    ill = {gpu.uuid for gpu in inventory.gpus if not gpu.healthy}

    def rebuilt(changed: NodeRecord) -> NodeInfo:
        return node_info(changed, info.holders, unit_mib=view.unit_mib)

    def with_gpus(change: Callable[[InventoryGpu], InventoryGpu]) -> NodeInfo:
        gpus = tuple([change(gpu) for gpu in inventory.gpus])
        return rebuilt(replace(record, inventory=replace(inventory, gpus=gpus)))

    if ill & cordoned:
        yield (
            Cause.GPU_CORDONED,
            with_gpus(lambda gpu: replace(gpu, healthy=gpu.healthy or gpu.uuid in cordoned)),
        )
    if not (record.memory_units and record.whole_gpus):
        offered = replace(record, memory_units=record.memory_units or 1, whole_gpus=record.whole_gpus or 1)
        yield Cause.NO_PLUGIN, rebuilt(offered)
    if not info.unit_matches:
        yield Cause.UNIT_MISMATCH, rebuilt(replace(record, inventory=replace(inventory, unit_mib=view.unit_mib)))
    if ill - cordoned:
        yield Cause.UNHEALTHY, with_gpus(lambda gpu: replace(gpu, healthy=True))
    if any(gpu.outside_mib for gpu in inventory.gpus):
        yield Cause.OUTSIDE, with_gpus(lambda gpu: replace(gpu, outside_mib=0))


def _should_have_gpus(view: ClusterView, info: NodeInfo) -> bool:
    record = info.record
    offers = bool(record.memory_units or record.whole_gpus)
    return offers or bool(record.inventory_error) or is_labelled(view, view.nodes.get(info.name))
