"""Decides whether a pod fits on a node: which GPUs it would get there, or why it does not fit."""

from dataclasses import dataclass, field, replace
from functools import lru_cache

from msgspec import Struct

from extender.contract.units import CORE_PERCENT
from extender.scheduling.fitting.choosing import Chosen, Room, choose
from extender.scheduling.fitting.reasons import Misfit, misfit
from extender.scheduling.nodes.node import NodeInfo, NodeRecord, node_info
from extender.scheduling.nodes.shape import NodeShape
from extender.scheduling.pods.models import ANY_MODEL
from extender.scheduling.pods.request import Demand, PodRequest, without_core
from extender.scheduling.policies.policy import Cost, Policy

_ONE_WHOLE = Demand(units=0, gpus=1)


class Fit(Struct, frozen=True, gc=False):
    """A pod fits: the GPUs of each demand, what is left free on every GPU of the node, and the policy's cost."""

    chosen: Chosen
    after: tuple[int, ...]
    cost: Cost


def fit(node: NodeInfo, request: PodRequest, policy: Policy) -> Fit | Misfit:
    """Choose GPUs of `node` for `request` by `policy`, or say why there are none.

    The policy's choice is taken demand by demand, the largest first. Where that leads nowhere, all choices are
    searched, so a pod is refused only when no choice exists.
    """
    blocked = _blocked(node, request)
    if blocked is not None:
        return blocked
    answer = _fit(node, request, policy)
    if answer is not None:
        return answer
    if request.asks_core and choose(node, without_core(request.demands), policy, _memory_room(node, request)):
        reason = Misfit.NO_CORE
    else:
        reason = misfit(node, request)
    return _for_ever(node, request, policy) or reason if reason.passing else reason


def try_fit(node: NodeInfo, request: PodRequest, policy: Policy) -> Fit | None:
    """As `fit`, for callers who need no reason: None when the pod does not fit."""
    return None if _blocked(node, request) is not None else _fit(node, request, policy)


def _fit(node: NodeInfo, request: PodRequest, policy: Policy) -> Fit | None:
    chosen = choose(node, request.demands, policy, _room(node, request), cpu_milli=request.cpu_milli)
    if chosen is None:
        return None
    after = _after(node, request, chosen)
    return Fit(chosen, after, policy.node_cost(node, request, after))


@dataclass(frozen=True, slots=True)
class _Question:
    """Whether a pod fits on a node when it is empty: the same for all nodes of a shape, and by every policy."""

    shape: NodeShape
    healthy: tuple[bool, ...]
    request: PodRequest
    record: NodeRecord = field(compare=False, repr=False)
    policy: Policy = field(compare=False, repr=False)


def _for_ever(node: NodeInfo, request: PodRequest, policy: Policy) -> Misfit | None:
    """Why the pod would not fit if the node were empty; None where it would.

    That of one demand is told by sums; several that fit one by one may not fit together.
    """
    if len(request.demands) == 1 and request.demands[0].core_percent <= CORE_PERCENT:
        return None
    healthy = tuple([gpu.healthy for gpu in node.gpus])
    return _answered(_Question(node.record.shape, healthy, request, node.record, policy))


@lru_cache(maxsize=1024)
def _answered(question: _Question) -> Misfit | None:
    inventory, request = question.record.inventory, question.request
    if inventory is None:
        return None
    for mended in (False, True):
        gpus = tuple([replace(gpu, outside_mib=0, healthy=gpu.healthy or mended) for gpu in inventory.gpus])
        record = replace(question.record, inventory=replace(inventory, gpus=gpus))
        empty = node_info(record, (), unit_mib=inventory.unit_mib)
        if choose(empty, request.demands, question.policy, _room(empty, request), cpu_milli=request.cpu_milli):
            return Misfit.UNHEALTHY if mended else None
    return Misfit.TOO_LARGE


def _blocked(node: NodeInfo, request: PodRequest) -> Misfit | None:
    record = node.record
    if record.inventory is None:
        return Misfit.NO_INVENTORY
    if not node.unit_matches:
        return Misfit.UNIT_MISMATCH
    for demand in request.demands:
        offered = record.whole_gpus if demand.whole else record.memory_units
        if not offered or (demand.core_percent and not record.core_percent):
            return misfit(node, request) if node.all_unhealthy else Misfit.NO_PLUGIN
    return None


def _room(node: NodeInfo, request: PodRequest) -> Room:
    room = _memory_room(node, request)
    if not request.asks_core:
        return room
    return Room(room.free, room.idle, tuple([gpu.core_free_percent for gpu in node.gpus]), room.slices)


def _memory_room(node: NodeInfo, request: PodRequest) -> Room:
    models, slices = request.models, node.record.shape.slices
    if models is ANY_MODEL and not slices:
        return Room(node.free, node.idle)  # an unhealthy GPU has no units free
    usable = whole = [models.match(gpu.model) for gpu in node.gpus]
    if slices:
        whole = [gpu.can_serve(models, _ONE_WHOLE) for gpu in node.gpus]
    return Room(
        tuple([units if good else -1 for units, good in zip(node.free, usable, strict=True)]),
        tuple([can and good for can, good in zip(node.idle, whole, strict=True)]),
        slices=slices,
    )


def _after(node: NodeInfo, request: PodRequest, chosen: Chosen) -> tuple[int, ...]:
    after = list(node.free)
    for demand, positions in zip(request.demands, chosen, strict=True):
        for at in positions:
            after[at] = 0 if demand.whole else after[at] - demand.units
    return tuple(after)
