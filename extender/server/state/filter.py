"""Filters: names the nodes that can take a pod, and holds room for it on the best of them."""

from collections.abc import Collection

from extender.scheduling.filtering import filter_nodes
from extender.scheduling.ledger.binding import Plan, holder_of, plan_on
from extender.scheduling.ledger.events import PodChanged, PodRecord
from extender.scheduling.nodes.node import Hold
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.ranking.ranking import Feasible
from extender.server.record.decisions import Decisions
from extender.server.state.book import Book
from extender.server.state.outcomes import FilterOutcome, Passed, Rejected, Unavailable, VictimsTerminating
from extender.server.state.waiting import MAX_ASKED


def filter_pod(
    book: Book, pod: PodRecord, request: PodRequest, names: Collection[str], decisions: Decisions
) -> FilterOutcome:
    """Which of the nodes can take a pod with a valid request; the lock is held."""
    ledger, now_s = book.ledger, book.clock()
    policy = book.policy_of(request)
    # The pod in the call is as valid as the one in the watch, and often newer.
    book.note_freed((*ledger.expire(now_s), *ledger.apply(PodChanged(pod))))
    known = ledger.pods.get(pod.uid)
    if known is not None and known.node:
        return Unavailable(f"pod is bound to {known.node} already")
    reservation = ledger.reservation(pod.uid)
    if reservation is not None and reservation.assumed:
        return Unavailable(f"an earlier bind of the pod to {reservation.node} is being settled")
    if reservation is not None:
        book.avoiding.not_bound(pod.uid, reservation.node, now_s)  # it passed, and comes again without a bind
    book.note_freed(ledger.release(pod.uid))
    # With one name answered, what the pod prefers would have no say.
    answers = max(book.answers, book.keep) if pod.prefers else book.answers
    strikes = book.avoiding.strikes(pod, now_s)
    filtered = filter_nodes(book.in_force.rankings, ledger, names, request, policy, answers=answers, strikes=strikes)
    ranked = filtered.ranked
    if ranked.first is None:
        if book.evictions.awaited(pod, request, policy, ledger.nodes.get(pod.nominated_node)):
            return VictimsTerminating("pods that were evicted for this one still hold their memory")
        book.wait(pod, request, policy, now_s, frozenset(names) if len(names) <= MAX_ASKED else None)
        decisions.rejected(pod, filtered.rejected)
        return Rejected({name: reason.text for name, reason in filtered.rejected.items()})
    plan = _hold(book, pod, request, ranked.first, now_s)
    book.waiting.remove(pod.uid)
    book.evictions.forget(pod.uid)
    decisions.chose(
        pod,
        policy.name,
        plan,
        feasible=ranked.fitting,
        refused=ranked.refused,
        runner_up=ranked.runner_up,
        avoided=filtered.avoided,
    )
    return Passed(ranked.names, plan)


def _hold(book: Book, pod: PodRecord, request: PodRequest, best: Feasible, now_s: float) -> Plan:
    plan = plan_on(book.ledger.nodes[best.node], request, best.fit, unit_mib=book.unit_mib)
    holder = holder_of(pod, request, plan, Hold.HELD)
    book.ledger.hold(best.node, holder, pod.resource_version, now_s + book.hold_s, since_s=now_s, plan=plan)
    book.latest = (pod.uid, book.policy_of(request), book.ledger.nodes[best.node])
    return plan
