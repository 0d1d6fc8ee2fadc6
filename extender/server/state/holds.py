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


def hold_best(book: Book, pod: PodRecord, request: PodRequest, best: Feasible, now_s: float) -> Plan:
    """The pod passes filter: hold room on the best node.

    A pod for which kube-scheduler has evicted others there is nominated already; a failure would take that away.
    """
    plan = plan_on(book.ledger.nodes[best.node], request, best.fit, unit_mib=book.unit_mib)
    passes = book.passes.count(pod.uid, best.node, now_s)
    nominated = book.ledger.pods.get(pod.uid, pod).nominated_node == best.node
    book.ledger.hold(
        best.node,
        holder_of(pod, request, plan, Hold.HELD),
        pod.resource_version,
        now_s + (LONGEST_S if nominated else bound_s(book.hold_s, passes)),
        since_s=now_s,
        plan=plan,
        repeated=passes > 1,
        waits=nominated,
    )
    book.latest = (pod.uid, book.policy_of(request), book.ledger.nodes[best.node])
    return plan


def take_in(book: Book, event: ClusterEvent) -> PodRecord | None:
    """Take in what a watch or a live read has shown, and what it says of the attempts for which room is held.

    Return the pod, if it was nominated to a node and nothing is held or assumed for it.
    """
    ledger = book.ledger
    match event:
        case PodChanged(pod):
            held, before = ledger.reservation(pod.uid), ledger.pods.get(pod.uid)
            book.note_freed(ledger.apply(event))
            if held is not None:
                _follow(book, held, before)
            elif pod.node:
                book.passes.forget(pod.uid)
            elif ledger.pods.get(pod.uid) is pod and pod.nominated_node != (before.nominated_node if before else ""):
                return pod if pod.nominated_node else None
        case PodsListed():
            told = [(held, ledger.pods.get(uid)) for uid, held in ledger.reservations()]
            book.note_freed(ledger.apply(event))
            for held, before in told:
                _follow(book, held, before)
        case _:
            book.note_freed(ledger.apply(event))
            if isinstance(event, PodDeleted) and event.uid not in ledger.pods:
                book.waiting.remove(event.uid)
                book.passes.forget(event.uid)
    return None


def adopt_holds(book: Book) -> None:
    """After the first lists: hold room where kube-scheduler was about to bind pods when this process began."""
    for pod in book.ledger.pending.values():
        if pod.nominated_node:
            hold_nominated(book, pod)


def hold_nominated(book: Book, pod: PodRecord) -> None:
    """Hold room for a pod on the node where it is nominated, if it has none by filter and claims none there.

    kube-scheduler waits to bind it there, since before this process began or on the word of another extender; or it has
    evicted pods there and is about to ask. A failure would take the nomination away.
    """
    if pod.scheduler in book.schedulers and book.ledger.reservation(pod.uid) is None:
        now_s = book.clock()
        _hold_on(book, pod, pod.nominated_node, now_s + LONGEST_S, since_s=now_s)


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
        book.ledger.prolong(uid, until_s, waits=False)
    else:
        _move(book, held, node, until_s)


def _follow(book: Book, held: Reservation, before: PodRecord | None) -> None:
    uid = held.holder.uid
    now = book.ledger.pods.get(uid)
    if held.claimed:
        return
    if not held.held or book.ledger.reservation(uid) is not held:
        book.passes.forget(uid)  # it has come to bind, or has ended
        return
    if before is None or now is None or now is before:
        return
    match sign_of(held.node, before, now, waits=held.waits):
        case Sign.WAITS:
            book.ledger.prolong(uid, held.since_s + LONGEST_S, waits=True)
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
    pod = book.ledger.pods.get(uid)
    if pod is not None:
        _hold_on(book, pod, node, expires_s, since_s=held.since_s)


def _hold_on(book: Book, pod: PodRecord, node: str, expires_s: float, *, since_s: float) -> None:
    """Hold room for the pod on a node that kube-scheduler has chosen, if there is any; if not, bind will say so."""
    request = pod.request
    if request is None:
        return
    plan = plan_binding(book.ledger.nodes.get(node), request, book.policy_of(request), unit_mib=book.unit_mib)
    if isinstance(plan, Misfit):
        return
    holder = holder_of(pod, request, plan, Hold.HELD)
    book.ledger.hold(node, holder, pod.resource_version, expires_s, since_s=since_s, plan=plan, waits=True)
