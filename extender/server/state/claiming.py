"""Claims the room that evictions make for the pod that they are made for, so that no other pod takes it.

A pending pod that kube-scheduler has nominated to a node claims room there as long as pods are evicted for it: those
that preempt named, and pods of lower priority that are terminating there. The latter are seen on the API server, so a
claim is made again after a restart. `status.nominatedNodeName` alone makes no claim: from Kubernetes 1.35 on
kube-scheduler writes it for any pod that it is binding. The state's lock is held in every function.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from math import inf

from extender.scheduling.fitting.fitting import Fit, fit, try_fit
from extender.scheduling.ledger.binding import Plan, has_room, holder_of, plan_binding
from extender.scheduling.ledger.events import (
    ClusterEvent,
    NodeChanged,
    NodeDeleted,
    PodChanged,
    PodDeleted,
    PodRecord,
)
from extender.scheduling.ledger.reservation import Reservation
from extender.scheduling.nodes.node import Hold, NodeInfo, node_without
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Policy
from extender.scheduling.ranking.ranking import Feasible, Ranked
from extender.server.state.book import Book

CLAIM_S = 15 * 60.0
"""Longest life of a claim, far above the grace period of nearly every pod."""


def left_node(book: Book, event: ClusterEvent) -> str:
    """The node where the event, which the ledger has not taken in yet, ends a pod; empty for any other."""
    pod = book.ledger.pods.get(event.uid) if isinstance(event, PodDeleted) else None
    return pod.node if pod is not None else ""


def follow(book: Book, event: ClusterEvent, left: str = "") -> None:
    """Bring claims in line after an event that the ledger has taken in, and that has ended a pod on the node `left`."""
    match event:
        case PodChanged(pod):
            if not (pod.nominated_node or book.evictions):
                return
            _note(book, pod.uid)
            renewed: Iterable[str] = (pod.uid, *book.evictions.nominated(pod.node)) if pod.node else (pod.uid,)
        case PodDeleted(uid):
            book.evictions.forget(uid)
            renewed = book.evictions.nominated(left) if left else ()
        case NodeChanged(node):
            renewed = book.evictions.nominated(node.name)
        case NodeDeleted(name):
            renewed = book.evictions.nominated(name)
        case _:
            for uid in (*book.evictions.nominated(), *book.ledger.pending):
                _note(book, uid)
            renewed = book.evictions.nominated()
    for uid in renewed:
        renew(book, uid)


def _note(book: Book, uid: str) -> None:
    pod = book.ledger.pending.get(uid)
    if pod is not None and pod.request is not None:
        book.evictions.note(pod, book.clock())
    elif book.evictions.nomination(uid) is not None:
        book.evictions.forget(uid)


def renew(book: Book, uid: str) -> Reservation | None:
    """Make, keep, move or drop the claim of a pod as the cluster is now; the claim that it has then."""
    ledger = book.ledger
    known = ledger.reservation(uid)
    if known is not None and not known.claimed:
        return None
    pod = ledger.pending.get(uid)
    wanted = _wanted(book, pod, known) if pod is not None else None
    if wanted is None or pod is None or pod.request is None:
        book.note_freed(ledger.release(uid))
        return None
    plan, expires_s = wanted
    if known is None or known.plan is not plan:
        book.note_freed(ledger.release(uid))
        info = ledger.nodes[plan.node]
        _give_way(book, pod, info, plan, _victims(book, pod, info))
        holder = holder_of(pod, pod.request, plan, Hold.CLAIMED)
        ledger.claim(plan.node, holder, pod.resource_version, expires_s, since_s=book.clock(), plan=plan)
    return ledger.reservation(uid)


def _wanted(book: Book, pod: PodRecord, known: Reservation | None) -> tuple[Plan, float] | None:
    """What the pod should claim, and until when; the plan that it claims already as long as that is good."""
    request, nomination, now_s = pod.request, book.evictions.nomination(pod.uid), book.clock()
    if request is None or nomination is None or pod.terminating:
        return None
    info, expires_s = book.ledger.nodes.get(nomination.node), nomination.since_s + CLAIM_S
    if info is None or expires_s <= now_s:
        return None
    told = book.evictions.victims(pod.uid, info.name, now_s)
    victims = _victims(book, pod, info)
    if victims or told:
        book.evictions.note_victims(pod.uid)
    elif not nomination.had_victims:
        return None
    kept = known.plan if known is not None and known.node == info.name and known.holder.request == request else None
    policy = book.policy_of(request)
    for cleared in _emptier(book, pod, info, victims, victims.intersection(told)):
        if kept is not None and has_room(cleared, kept):
            return kept, expires_s
        plan = plan_binding(cleared, request, policy, unit_mib=book.unit_mib)
        if isinstance(plan, Plan):
            return plan, expires_s
    return None


def _emptier(
    book: Book, pod: PodRecord, info: NodeInfo, victims: Collection[str], told: Collection[str]
) -> Iterator[NodeInfo]:
    """The node as the pod may find it: as it is, once the victims named for it are gone, and once all are.

    A pod that terminates for another reason may do so for ever, so room that needs it gone is the last choice. Each
    time claims that have to give way stay first.
    """
    yield node_without(info, {pod.uid}, unit_mib=book.unit_mib)
    lesser = _lesser_claims(book, pod, info)
    stages = [told, victims] if told and len(told) < len(victims) else [victims]
    for leaving in stages:
        if leaving:
            yield node_without(info, {pod.uid, *leaving}, unit_mib=book.unit_mib)
        if lesser:
            yield node_without(info, {pod.uid, *leaving, *lesser}, unit_mib=book.unit_mib)


def _victims(book: Book, pod: PodRecord, info: NodeInfo) -> set[str]:
    """The pods on the node that are being evicted for this one and still hold memory there."""
    told = book.evictions.victims(pod.uid, info.name, book.clock())
    found = set()
    for holder in info.holders:
        other = book.ledger.pods.get(holder.uid)
        if other is None or other.node != info.name:
            continue
        if holder.uid in told or (other.terminating and other.priority < pod.priority):
            found.add(holder.uid)
    return found


def _lesser_claims(book: Book, pod: PodRecord, info: NodeInfo) -> list[str]:
    """The claims that give way to the pod, the most important first."""
    if not info.claims:
        return []
    pods = book.ledger.pods
    claims = [holder.uid for holder in info.holders if holder.hold is Hold.CLAIMED and holder.uid != pod.uid]
    lesser = [uid for uid in claims if uid not in pods or pods[uid].priority < pod.priority]
    return sorted(lesser, key=lambda uid: (-pods[uid].priority if uid in pods else inf, uid))


def _give_way(book: Book, pod: PodRecord, info: NodeInfo, plan: Plan, victims: Collection[str] = ()) -> None:
    """Drop the claims of less important pods beside which the node has no room for the pod's `plan`."""
    lesser = _lesser_claims(book, pod, info)
    if not lesser:
        return
    gone = {pod.uid, *victims, *lesser}
    for uid in lesser:
        if has_room(node_without(info, gone - {uid}, unit_mib=book.unit_mib), plan):
            gone.remove(uid)
        else:
            book.note_freed(book.ledger.release(uid))


def make_way(
    book: Book, pod: PodRecord, request: PodRequest, names: Collection[str], strikes: Mapping[str, int]
) -> bool:
    """Drop claims of less important pods so that the pod fits on one node; whether there is such a node.

    Where pods failed least goes first, then where the claims are least important.
    """
    highest: dict[str, int] = {}
    asked = names if isinstance(names, Set | Mapping) else frozenset(names)
    for uid in book.evictions.nominated():
        claim, other = _claimed(book, uid), book.ledger.pods.get(uid)
        if claim is not None and other is not None and other.priority < pod.priority and claim.node in asked:
            highest[claim.node] = max(highest.get(claim.node, other.priority), other.priority)
    for node in sorted(highest, key=lambda node: (strikes.get(node, 0), highest[node], node)):
        info = book.ledger.nodes.get(node)
        if info is None or not _could_take(info, request):
            continue
        plan = _plan_over_claims(book, pod, request, info)
        if plan is not None:
            _give_way(book, pod, info, plan)
            return True
    return False


def _plan_over_claims(book: Book, pod: PodRecord, request: PodRequest, info: NodeInfo) -> Plan | None:
    """Where the pod fits on the node when claims give way to it, the least important first."""
    policy, lesser = book.policy_of(request), _lesser_claims(book, pod, info)
    if try_fit(node_without(info, {pod.uid, *lesser}, unit_mib=book.unit_mib), request, policy) is None:
        return None
    gone = {pod.uid}
    for uid in reversed(lesser):
        gone.add(uid)
        plan = plan_binding(node_without(info, gone, unit_mib=book.unit_mib), request, policy, unit_mib=book.unit_mib)
        if isinstance(plan, Plan):
            return plan
    return None


def _could_take(info: NodeInfo, request: PodRequest) -> bool:
    """Whether the node might have room if nothing was claimed there: quick to say for those whose victims are there."""
    return all(
        sum(
            [
                gpu.healthy and gpu.capacity - gpu.used - gpu.outside >= (gpu.capacity if one.whole else one.units)
                for gpu in info.gpus
            ]
        )
        >= one.gpus
        for one in request.demands
    )


def _claimed(book: Book, uid: str) -> Reservation | None:
    reservation = book.ledger.reservation(uid)
    return reservation if reservation is not None and reservation.claimed else None


def claimed_place(
    book: Book, claim: Reservation, request: PodRequest, policy: Policy, names: Collection[str]
) -> Ranked | None:
    """The node of the pod's claim, if it was asked about and its room is free by now."""
    info = book.without_own(claim.holder.uid).nodes.get(claim.node) if claim.node in names else None
    answer = fit(info, request, policy) if info is not None else None
    return Ranked((claim.node,), Feasible(claim.node, answer), 1, {}) if isinstance(answer, Fit) else None


def awaited(book: Book, pod: PodRecord, claim: Reservation) -> frozenset[str]:
    """The pods that are evicted for this one and still hold memory on the node of its claim, by UID."""
    info = book.ledger.nodes.get(claim.node)
    return frozenset(_victims(book, pod, info)) if info is not None else frozenset()
