"""Filters: names the nodes that can take a pod, and holds room for it on the best of them."""

from collections.abc import Collection

from extender.scheduling.filtering import filter_nodes
from extender.scheduling.ledger.events import PodChanged, PodRecord
from extender.scheduling.pods.request import PodRequest
from extender.server.record.decisions import Decisions
from extender.server.state.book import Book
from extender.server.state.holds import hold_best
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
    failed_on = book.passes.failed_on(pod.uid)
    if failed_on:
        book.avoiding.not_bound(pod.uid, failed_on, now_s)
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
        if not _asks_again_at_once(book, pod, names):
            decisions.rejected(pod, filtered.rejected)
        return Rejected({name: reason.text for name, reason in filtered.rejected.items()})
    plan = hold_best(book, pod, request, ranked.first, now_s)
    book.asked_alone = ""
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


def _asks_again_at_once(book: Book, pod: PodRecord, names: Collection[str]) -> bool:
    """Whether this refusal is none of the pod yet.

    kube-scheduler asks about the nominated node alone first, and when that is refused, about all nodes.
    """
    alone = len(names) == 1 and pod.nominated_node in names and book.asked_alone != pod.uid
    book.asked_alone = pod.uid if alone else ""
    return alone
