"""Begins a bind: charges the pod where it was held, or where it fits now."""

from extender.scheduling.fitting.reasons import Misfit
from extender.scheduling.ledger.binding import Plan, holder_of, holds_good, plan_binding
from extender.scheduling.ledger.reservation import Reservation
from extender.scheduling.nodes.node import Hold
from extender.scheduling.pods.request import PodRequest
from extender.server.state.book import STANDSTILL_S, Book
from extender.server.state.holds import end_hold
from extender.server.state.outcomes import AlreadyBound, Assumed, BindStart, NeedsLook, Refused, UnknownPod


def begin_bind(book: Book, uid: str, node: str, view_problem: str | None, *, looked: bool) -> BindStart:
    """Charge the pod on `node`: with the GPUs held for it there, else with newly chosen ones; the lock is held.

    What filter held was chosen on a view that was good then; a new choice needs one that is good now. Without a fresh
    hold, or with one from just after a standstill of the whole process, the view may be older than it seems: then the
    pods of the node are read first, and `looked` says that they were.
    """
    ledger = book.ledger
    if ledger.is_gone(uid):
        return Refused("pod is gone")
    pod = ledger.pods.get(uid)
    if pod is not None and pod.node:
        asks = pod.request is not None or pod.request_error
        return AlreadyBound(pod.node, has_gpus=not asks or pod.footprint is not None)
    reservation = ledger.reservation(uid)
    if reservation is not None and reservation.assumed:
        return Refused(f"an earlier bind of the pod to {reservation.node} is being settled")
    if pod is None or pod.request is None:
        return UnknownPod() if pod is None else Refused(pod.request_error or "pod asks for no GPU")
    fresh = reservation is not None and reservation.held and book.clock() - reservation.since_s <= STANDSTILL_S
    if not looked and (not fresh or book.stood_still):
        return NeedsLook(node)
    held = _held_plan(book, reservation, node, pod.request)
    if held is None and view_problem is not None:
        end_hold(book, uid)
        return Refused(view_problem)
    plan = held or _new_plan(book, uid, node, pod.request)
    if isinstance(plan, Misfit):
        return Refused(plan.text)
    holder = holder_of(pod, pod.request, plan, Hold.ASSUMED)
    book.passes.forget(uid)
    book.note_freed(ledger.assume(node, holder, pod.resource_version, since_s=book.clock(), plan=plan))
    return Assumed(plan, pod)


def _held_plan(book: Book, reservation: Reservation | None, node: str, request: PodRequest) -> Plan | None:
    """What filter held for this very request on this node, if it can still be carried out."""
    if reservation is None or reservation.plan is None or reservation.holder.request != request:
        return None
    if reservation.claimed:
        return None  # others may hold it still
    held = reservation.plan
    good = held.node == node and holds_good(book.ledger.nodes.get(node), held)
    return held if good else None


def _new_plan(book: Book, uid: str, node: str, request: PodRequest) -> Plan | Misfit:
    book.note_freed(book.ledger.release(uid))
    info = book.ledger.nodes.get(node)
    return plan_binding(info, request, book.policy_of(request), unit_mib=book.unit_mib)
