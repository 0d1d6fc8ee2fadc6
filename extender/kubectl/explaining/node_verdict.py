"""Judges one pod against one node: whether it fits there, and if not, what exactly is in its way.

What is in the way is found by judging again as if one thing were repaired: the cordoned GPUs open, the unhealthy ones
healthy, the device plugin serving. The first repair that makes room names the cause.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from extender.capacity.eligibility import Constraints
from extender.contract.inventory import InventoryGpu
from extender.kubectl.cluster.traits import constraints_of, node_traits
from extender.kubectl.cluster.view import ClusterView
from extender.kubectl.explaining.causes import Cause, cause_of
from extender.kubectl.explaining.numbers import numbers_of
from extender.kubectl.explaining.rules import Rule, rules_against
from extender.kubectl.output.gpu_rows import cordoned_on, is_labelled
from extender.scheduling.fitting.judging import Verdict, judge
from extender.scheduling.fitting.reasons import Misfit
from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.nodes.node import NodeInfo, NodeRecord, node_info
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Policy
from extender.scheduling.policies.table import DEFAULT_POLICY, policy_named


@dataclass(frozen=True, slots=True)
class Asker:
    """The pod that looks for a place: its record, what it asks of GPUs and of nodes, and by which policy."""

    record: PodRecord
    request: PodRequest
    constraints: Constraints
    policy: Policy

    def verdict(self, info: NodeInfo) -> Verdict:
        """What the node's GPUs answer, whatever kube-scheduler's own rules say."""
        return judge(info, self.request, self.policy)


@dataclass(frozen=True, slots=True)
class NodeVerdict:
    """What keeps the pod off one node.

    Args:
        node: its name.
        cause: FITS, or the first thing in the way.
        what: that in numbers and names.
        help: what would help there, empty where nothing simple would.
        opens: whether the pod would fit there without the cause.
        rules: kube-scheduler's own rules that keep the pod off the node; the cause may be one of them.
    """

    node: str
    cause: Cause
    what: str
    help: str = ""
    opens: bool = False
    rules: tuple[Rule, ...] = ()

    @property
    def what_there(self) -> str:
        """`what` with the node's name in it, for where no list of nodes stands next to it."""
        return self.what.replace("the node", self.node)


def asker_of(view: ClusterView, record: PodRecord, request: PodRequest) -> Asker:
    """The pod of this record, with the policy that it asks for or the default."""
    constraints = constraints_of(view.pods[record.uid], view.names)
    return Asker(record, request, constraints, policy_named(request.policy or DEFAULT_POLICY))


def rules_on(view: ClusterView, asker: Asker, info: NodeInfo) -> tuple[Rule, ...]:
    """The rules of kube-scheduler itself that keep the pod off a node of the view."""
    return rules_against(asker.constraints, asker.record, node_traits(view.nodes[info.name]), info)


def node_verdict(view: ClusterView, asker: Asker, info: NodeInfo) -> NodeVerdict:
    """The verdict on `info`, a node of the view (without what the pod itself holds there)."""
    rules = rules_on(view, asker, info)
    misfit = asker.verdict(info).misfit
    if misfit is None:
        if not rules:
            return NodeVerdict(info.name, Cause.FITS, "it fits", opens=True)
        first = rules[0]
        return NodeVerdict(info.name, first.cause, first.what, first.help, opens=len(rules) == 1, rules=rules)
    repair = next((cause for cause, repaired in _repairs(view, info) if asker.verdict(repaired).fit is not None), None)
    cause, opens = repair or cause_of(misfit), repair is not None
    if repair is None and misfit in (Misfit.NO_INVENTORY, Misfit.NO_PLUGIN) and not info.gpus:
        # It is not known which GPUs it has: they may be what the pod waits for.
        opens = _should_have_gpus(view, info)
        cause = Cause.NO_PLUGIN if opens else Cause.NO_GPUS
    what, help_text = numbers_of(cause, view, asker.request, info)
    return NodeVerdict(info.name, cause, what, help_text, opens=opens and not rules, rules=rules)


def _repairs(view: ClusterView, info: NodeInfo) -> Iterator[tuple[Cause, NodeInfo]]:
    """The node as it would be if one cause were gone, for every such cause that is there."""
    record, inventory = info.record, info.record.inventory
    if inventory is None:
        return
    cordoned = cordoned_on(view, info)
    ill = {gpu.uuid for gpu in inventory.gpus if not gpu.healthy}
    units, gpus, cores = record.memory_units or 1, record.whole_gpus or 1, record.core_percent or 1
    offered = replace(record, memory_units=units, whole_gpus=gpus, core_percent=cores)

    def rebuilt(changed: NodeRecord) -> NodeInfo:
        return node_info(changed, info.holders, unit_mib=view.unit_mib)

    def with_gpus(change: Callable[[InventoryGpu], InventoryGpu]) -> NodeInfo:
        gpus = tuple([change(gpu) for gpu in inventory.gpus])
        known = offered if info.all_unhealthy else record  # its kubelet offers nothing until a GPU is healthy
        return rebuilt(replace(known, inventory=replace(inventory, gpus=gpus)))

    if ill & cordoned:
        yield (
            Cause.GPU_CORDONED,
            with_gpus(lambda gpu: replace(gpu, healthy=gpu.healthy or gpu.uuid in cordoned)),
        )
    if not (record.memory_units and record.whole_gpus):
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
