"""Filters: names the nodes that can take a pod, and holds room for it on the best of them."""

from collections.abc import Collection, Mapping

from extender.scheduling.filtering import Filtered, filter_nodes
from extender.scheduling.fitting.reasons import BOUND_ELSEWHERE, Misfit
from extender.scheduling.ledger.events import PodChanged, PodRecord
from extender.scheduling.ledger.reservation import Reservation
from extender.scheduling.pods.request import PodRequest
from extender.server.record.decisions import Decisions
from extender.server.state.book import Book
from extender.server.state.claiming import awaited, claimed_place, follow, make_way, renew
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
    follow(book, PodChanged(pod))
    known = ledger.pods.get(pod.uid)
    if known is not None and known.node:
        return _bound(known, names) if pod.node else Unavailable(f"pod is bound to {known.node} already")
    reservation = ledger.reservation(pod.uid)
    if reservation is not None and reservation.assumed:
        return Unavailable(f"an earlier bind of the pod to {reservation.node} is being settled")
    failed_on = book.passes.failed_on(pod.uid)
    if failed_on:
        book.avoiding.not_bound(pod.uid, failed_on, now_s)
    claim = renew(book, pod.uid)
    if claim is None:
        book.note_freed(ledger.release(pod.uid))
    filtered = _filtered(book, pod, request, claim, names)
    ranked = filtered.ranked
    if ranked.first is None:
        book.wait(pod, request, policy, now_s, frozenset(names) if len(names) <= MAX_ASKED else None)
        victims = awaited(book, pod, claim) if claim is not None and claim.node in filtered.rejected else None
        if claim is None or not victims:
            return _refused(book, pod, filtered.rejected, decisions)
        rejected = {**filtered.rejected, claim.node: Misfit.EVICTING}
        if book.evictions.has_waited(pod.uid, victims):
            return _refused(book, pod, rejected, decisions)
        return VictimsTerminating(rejected, victims)
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


def stop_waiting(book: Book, pod: PodRecord, outcome: VictimsTerminating, decisions: Decisions) -> Rejected:
    """The answer to a pod whose victims take their time; it is woken once they are gone. The lock is held."""
    book.evictions.wait_over(pod.uid, outcome.victims)
    return _refused(book, pod, outcome.rejected, decisions)


def _refused(book: Book, pod: PodRecord, rejected: Mapping[str, Misfit], decisions: Decisions) -> Rejected:
    if not _asks_again_at_once(book, pod, rejected):
        decisions.rejected(pod, rejected)
    # Where its victims are still leaving, the node is not out of reach.
    leaving = frozenset(name for name, reason in rejected.items() if reason is Misfit.EVICTING)
    return Rejected({name: reason.text for name, reason in rejected.items()}, leaving)


def _asks_again_at_once(book: Book, pod: PodRecord, names: Collection[str]) -> bool:
    """Whether this refusal is none of the pod yet.

    kube-scheduler asks about the nominated node alone first, and when that is refused, about all nodes.
    """
    alone = len(names) == 1 and pod.nominated_node in names and book.asked_alone != pod.uid
    book.asked_alone = pod.uid if alone else ""
    return alone


def _bound(pod: PodRecord, names: Collection[str]) -> Passed | Rejected:
    """Answer about a pod that is bound: kube-scheduler asks when its CPU or memory is resized and must wait for room.

    Its GPU memory cannot be resized, and is charged already where the pod is.
    """
    return Passed((pod.node,)) if pod.node in names else Rejected(dict.fromkeys(names, BOUND_ELSEWHERE))


def _filtered(
    book: Book, pod: PodRecord, request: PodRequest, claim: Reservation | None, names: Collection[str]
) -> Filtered:
    """Where the pod fits: where it has a claim, else anywhere, and then where claims give way to it."""
    policy = book.policy_of(request)
    claimed = claimed_place(book, claim, request, policy, names) if claim is not None else None
    if claimed is not None:
        return Filtered(claimed)
    # With one name answered, what the pod prefers would have no say.
    answers = max(book.answers, book.keep) if pod.prefers else book.answers
    strikes = book.avoiding.strikes(pod, book.clock())
    rankings, ledger = book.in_force.rankings, book.ledger
    filtered = filter_nodes(rankings, ledger, names, request, policy, answers=answers, strikes=strikes)
    if filtered.ranked.first is None and book.evictions and make_way(book, pod, request, names, strikes):
        filtered = filter_nodes(rankings, ledger, names, request, policy, answers=answers, strikes=strikes)
    return filtered
