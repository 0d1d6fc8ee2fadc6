"""Preempts: keeps the candidate nodes where evictions make room for the pod, and remembers their victims."""

from collections.abc import Mapping

from extender.scheduling.avoiding import levels
from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.preemption import Preemptor, Victims, preempt
from extender.server.state.book import Book


def preempt_for(
    book: Book, pod: PodRecord, request: PodRequest, candidates: Mapping[str, Victims]
) -> dict[str, Victims]:
    """The candidates where the evictions would make room, with the victims that it takes; the lock is held."""
    preemptor = Preemptor(request, pod.priority, book.policy_of(request))
    snapshot = book.without_own(pod.uid)
    answers = preempt(snapshot, candidates, preemptor, book.ledger.pods, unit_mib=book.unit_mib)
    strikes = book.avoiding.strikes(pod, book.clock())
    if not strikes.keys().isdisjoint(answers):
        wanted, *_others = levels(answers, strikes)
        answers = {name: answers[name] for name in wanted}
    book.evictions.remember(pod.uid, answers)
    return answers
