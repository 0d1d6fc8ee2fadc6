"""Makes, moves and ends what filter holds for a pod, as kube-scheduler's attempt to place that pod goes on.

All of it happens under the state's lock.
"""

from extender.scheduling.fitting.reasons import Misfit
from extender.scheduling.ledger.attempts import LONGEST_S, Sign, bound_s, sign_of
from extender.scheduling.ledger.binding import Plan, holder_of, plan_binding, plan_on
from extender.scheduling.ledger.events import ClusterEvent, PodChanged, PodDeleted, PodRecord, PodsListed
from extender.scheduling.ledger.reservation import Reservation
from extender.scheduling.nodes.node import Hold
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.ranking.ranking import Feasible
from extender.server.state.book import Book

_Told = tuple[Reservation, PodRecord | None]
"""A hold, and its pod as it was known before an event."""


def hold_best(book: Book, pod: PodRecord, request: PodRequest, best: Feasible, now_s: float) -> Plan:
    """The pod passes filter: hold room on the best node."""
    plan = plan_on(book.ledger.nodes[best.node], request, best.fit, unit_mib=book.unit_mib)
    passes = book.passes.count(pod.uid, best.node, now_s)
    book.ledger.hold(
        best.node,
        holder_of(pod, request, plan, Hold.HELD),
        pod.resource_version,
        now_s + bound_s(book.hold_s, passes),
        since_s=now_s,
        plan=plan,
        repeated=passes > 1,
    )
    book.latest = (pod.uid, book.policy_of(request), book.ledger.nodes[best.node])
    return plan


def take_in(book: Book, event: ClusterEvent) -> None:
    """Take in what a watch or a live read has shown, and what it says of the attempts for which room is held."""
    told = _told_of(book, event)
    book.note_freed(book.ledger.apply(event))
    for held, before in told:
        _follow(book, held, before)
    if isinstance(event, PodDeleted) and event.uid not in book.ledger.pods:
        book.waiting.remove(event.uid)
        book.passes.forget(event.uid)
    elif isinstance(event, PodChanged) and event.pod.node:
        book.passes.forget(event.pod.uid)


def end_hold(book: Book, uid: str) -> None:
    """kube-scheduler asks anew about the pod: what an earlier attempt held is room again."""
    held = book.ledger.reservation(uid)
    if held is not None and held.held:
        book.note_freed(book.ledger.release(uid))


def keep_for(book: Book, held: Reservation, node: str, expires_s: float) -> None:
    """kube-scheduler is seen to wait to bind the pod to `node`: keep its room there, if it still has this hold."""
    uid = held.holder.uid
    if book.ledger.reservation(uid) != held:
        return
    until_s = min(expires_s, held.since_s + LONGEST_S)
    if held.node == node:
        book.ledger.prolong(uid, until_s)
    else:
        _move(book, held, node, until_s)


def _told_of(book: Book, event: ClusterEvent) -> list[_Told]:
    ledger = book.ledger
    if isinstance(event, PodChanged):
        held = ledger.reservation(event.pod.uid)
        return [(held, ledger.pods.get(event.pod.uid))] if held is not None and held.held else []
    if isinstance(event, PodsListed):
        return [(held, ledger.pods.get(uid)) for uid, held in ledger.reservations() if held.held]
    return []


def _follow(book: Book, held: Reservation, before: PodRecord | None) -> None:
    uid = held.holder.uid
    now = book.ledger.pods.get(uid)
    if before is None or now is None or now is before or book.ledger.reservation(uid) is not held:
        return  # nothing new, or bound, ended or gone
    match sign_of(held.node, before, now):
        case Sign.WAITS:
            book.ledger.prolong(uid, held.since_s + LONGEST_S)
        case Sign.ELSEWHERE:
            _move(book, held, now.nominated_node, held.since_s + LONGEST_S)
        case Sign.ENDED:
            book.note_freed(book.ledger.release(uid))
        case Sign.NONE:
            pass


def _move(book: Book, held: Reservation, node: str, expires_s: float) -> None:
    """Hold the pod's room on the node to which kube-scheduler is about to bind it, if there is any."""
    uid = held.holder.uid
    book.passes.moved(uid, node)
    book.note_freed(book.ledger.release(uid))
    pod, request = book.ledger.pods.get(uid), held.holder.request
    if pod is None or request is None:
        return
    plan = plan_binding(book.ledger.nodes.get(node), request, book.policy_of(request), unit_mib=book.unit_mib)
    if isinstance(plan, Misfit):
        return  # bind will say so
    book.ledger.hold(
        node,
        holder_of(pod, request, plan, Hold.HELD),
        pod.resource_version,
        expires_s,
        since_s=held.since_s,
        plan=plan,
        repeated=held.repeated,
    )
