"""Claims the room that evictions make for the pod that they are made for, so that no other pod takes it.

A pending pod that kube-scheduler has nominated to a node claims room there as long as pods are evicted for it: those
that preempt named, and pods of lower priority that are terminating there. The latter are seen on the API server, so a
claim is made again after a restart. `status.nominatedNodeName` alone makes no claim: from Kubernetes 1.35 on
kube-scheduler writes it for any pod that it is binding. The state's lock is held in every function.
"""

from collections.abc import Collection, Iterable

from extender.scheduling.fitting.fitting import Fit, fit
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
from extender.scheduling.nodes.node import Hold, NodeInfo, node_info
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Policy
from extender.scheduling.ranking.ranking import Feasible, Ranked
from extender.server.state.book import Book

CLAIM_S = 15 * 60.0
"""Longest life of a claim, far above the grace period of nearly every pod."""


def follow(book: Book, event: ClusterEvent) -> None:
    """Bring claims in line after an event that the ledger has taken in."""
    match event:
        case PodChanged(pod):
            if not (pod.nominated_node or book.evictions):
                return
            _note(book, pod.uid)
            renewed: Iterable[str] = (pod.uid, *book.evictions.nominated(pod.node)) if pod.node else (pod.uid,)
        case PodDeleted(uid):
            book.evictions.forget(uid)
            return
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
        _give_way(book, pod, plan.node, plan)
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
    victims = _victims(book, pod, info)
    cleared = _without(book, pod, info, victims)
    if known is not None and known.plan is not None and known.node == info.name and known.holder.request == request:
        if has_room(cleared, known.plan):
            return known.plan, expires_s
    elif not victims and not book.evictions.victims(pod.uid, info.name, now_s):
        return None
    plan = plan_binding(cleared, request, book.policy_of(request), unit_mib=book.unit_mib)
    return (plan, expires_s) if isinstance(plan, Plan) else None


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


def _without(book: Book, pod: PodRecord, info: NodeInfo, victims: Collection[str]) -> NodeInfo:
    """The node without the pod's victims, its own claim, and the claims that have to give way to it."""
    gone = {pod.uid, *victims, *_lesser_claims(book, pod, info)}
    left = [holder for holder in info.holders if holder.uid not in gone]
    return node_info(info.record, left, unit_mib=book.unit_mib, before=info)


def _lesser_claims(book: Book, pod: PodRecord, info: NodeInfo) -> list[str]:
    if not info.claims:
        return []
    claims = [holder.uid for holder in info.holders if holder.hold is Hold.CLAIMED and holder.uid != pod.uid]
    return [uid for uid in claims if (other := book.ledger.pods.get(uid)) is None or other.priority < pod.priority]


def _give_way(book: Book, pod: PodRecord, node: str, plan: Plan | None = None) -> None:
    """Drop the claims of less important pods on the node, unless `plan` has room beside them."""
    info = book.ledger.nodes[node]
    lesser = _lesser_claims(book, pod, info)
    if plan is not None and lesser:
        gone = {pod.uid, *_victims(book, pod, info)}
        left = [holder for holder in info.holders if holder.uid not in gone]
        if has_room(node_info(info.record, left, unit_mib=book.unit_mib, before=info), plan):
            return
    for uid in lesser:
        book.note_freed(book.ledger.release(uid))


def make_way(book: Book, pod: PodRecord, request: PodRequest, policy: Policy, names: Collection[str]) -> bool:
    """Drop the claims of less important pods on the nodes where the pod fits without them; whether there were any."""
    found = False
    for node in {nomination.node for uid in book.evictions.nominated() if (nomination := _claimed(book, uid))}:
        info = book.ledger.nodes.get(node)
        if info is None or node not in names or not _lesser_claims(book, pod, info):
            continue
        if isinstance(fit(_without(book, pod, info, ()), request, policy), Fit):
            _give_way(book, pod, node)
            found = True
    return found


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
