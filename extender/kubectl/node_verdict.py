"""From one pod and one node to a NodeVerdict: whether it fits there, and if not, what exactly is in its way.

What is in the way is found by asking the shipped `fit` again as if one thing were mended: the cordoned GPUs open, the
unhealthy ones well, the device plugin serving. The first mend that makes room names the cause.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from extender.contract.inventory import InventoryGpu
from extender.kubectl.causes import Cause
from extender.kubectl.components import plugins_of, state_of
from extender.kubectl.gpu_rows import cordoned_on, is_labelled
from extender.kubectl.memory_text import of_units
from extender.kubectl.node_rules import Rule, rules_against
from extender.kubectl.objects import PodObject
from extender.kubectl.view import ClusterView
from extender.scheduling.describing import explain_pending
from extender.scheduling.events import PodRecord
from extender.scheduling.fitting import Fit, fit
from extender.scheduling.node import NodeInfo, NodeRecord, node_info
from extender.scheduling.policies.policy import Policy
from extender.scheduling.reasons import Misfit
from extender.scheduling.request import PodRequest
from extender.scheduling.snapshot import Snapshot

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
            what, help_text = _words(cause, view, asker, info)
            return NodeVerdict(info.name, cause, what, help_text, opens=not rules, rules=rules)
    cause = _OF_MISFIT[answer]
    if answer in (Misfit.NO_INVENTORY, Misfit.NO_PLUGIN) and not info.gpus:
        cause = Cause.NO_PLUGIN if _should_have_gpus(view, info) else Cause.NO_GPUS
        # What GPUs it has nobody knows: they may be what the pod waits for.
        opens = cause is Cause.NO_PLUGIN and not rules
    else:
        opens = False
    what, help_text = _words(cause, view, asker, info)
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


def _words(cause: Cause, view: ClusterView, asker: Asker, info: NodeInfo) -> tuple[str, str]:
    """The cause on this node in numbers and names, and what would help."""
    match cause:
        case Cause.GPU_CORDONED:
            cordoned = cordoned_on(view, view.nodes.get(info.name))
            places = [f"{info.name}/{gpu.index}" for gpu in info.gpus if gpu.uuid in cordoned]
            return f"cordoned by hand: {', '.join(places)}", f"kubectl gpupack uncordon {' '.join(places)}"
        case Cause.UNHEALTHY:
            ill = [gpu for gpu in info.gpus if not gpu.healthy]
            what = "; ".join(f"GPU {gpu.index}: {gpu.reason or 'unhealthy'}" for gpu in ill)
            return what, f"mend or replace it; {info.name} offers it again by itself once it is well"
        case Cause.OUTSIDE:
            unit = view.unit_mib
            used = [f"GPU {gpu.index}: {of_units(gpu.outside, unit)}" for gpu in info.gpus if gpu.outside]
            return f"in use by what holds no memory there: {', '.join(used)}", (
                f"end what uses the GPUs of {info.name} beside Kubernetes (nvidia-smi there names the processes)"
            )
        case Cause.UNIT_MISMATCH:
            there = info.record.inventory.unit_mib if info.record.inventory is not None else None
            return (
                f"units of {there} MiB there, {view.unit_mib} MiB in the installation ({view.unit_from})",
                f"start the device plugin of {info.name} with --memory-unit-mib={view.unit_mib}",
            )
        case Cause.NO_PLUGIN:
            return _plugin_words(view, info)
    return _size_words(cause, view, asker.request, info), ""


def _plugin_words(view: ClusterView, info: NodeInfo) -> tuple[str, str]:
    record = info.record
    if record.inventory_error:
        what = f"its inventory can't be read: {record.inventory_error}"
    elif record.inventory is None:
        what = f"no annotation {view.names.inventory_annotation}"
    else:
        what = f"its kubelet offers no {view.names.memory_resource}"
    for pod in plugins_of(view.pods.values()):
        if pod.spec.node_name == info.name:
            advice = f"look at its log: kubectl -n {pod.metadata.namespace} logs {pod.metadata.name}"
            return f"{what}; its device plugin {pod.path} is {state_of(pod)}", advice
    labels = (view.nodes[info.name].metadata.labels if info.name in view.nodes else None) or {}
    label = f"{view.names.prefix}/gpu"
    advice = "start the device plugin there (kubectl gpupack doctor looks further)"
    if label not in labels:
        advice = f"kubectl label node {info.name} {label}=true, if no device plugin pod comes there by itself"
    return f"{what}; no device plugin pod is there", advice


def _size_words(cause: Cause, view: ClusterView, request: PodRequest, info: NodeInfo) -> str:
    unit = view.unit_mib
    accepted = [gpu for gpu in info.gpus if request.models.match(gpu.model)]
    largest = max((demand.units for demand in request.demands), default=0)
    gpus = max((demand.gpus for demand in request.demands), default=0)
    hole = of_units(max((gpu.free for gpu in accepted), default=0), unit)
    match cause:
        case Cause.FULL | Cause.FRAGMENTED:
            each = f" on each of {gpus} GPUs" if gpus > 1 else " on one GPU"
            total = of_units(sum(gpu.free for gpu in accepted), unit)
            return f"{of_units(largest, unit)} wanted{each}; largest hole {hole}, {total} free in all"
        case Cause.NO_CORE:
            most = max((gpu.core_free_percent for gpu in accepted), default=0)
            wanted = max((demand.core_percent for demand in request.demands), default=0)
            return f"{wanted}% of a GPU's compute wanted; at most {most}% free"
        case Cause.NOT_IDLE:
            idle = sum(gpu.idle for gpu in accepted)
            return f"{request.whole_gpus} whole GPUs wanted, {idle} of {len(accepted)} idle"
        case Cause.MODEL:
            return f"it has {', '.join(sorted({gpu.model for gpu in info.gpus})) or 'no GPU'}"
        case Cause.TOO_FEW_GPUS:
            return f"{max(gpus, request.whole_gpus)} GPUs wanted, it has {len(accepted)} that the pod accepts"
        case Cause.TOO_LARGE:
            size = max((gpu.capacity for gpu in accepted), default=0)
            return f"{of_units(largest, unit)} wanted, its largest GPU has {of_units(size, unit)}"
    return ""
