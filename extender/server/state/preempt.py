"""Preempts: keeps the candidate nodes where evictions make room for the pod, and remembers their victims."""

from collections.abc import Mapping
from dataclasses import dataclass

from extender.scheduling.avoiding import least_struck
from extender.scheduling.ledger.events import PodChanged, PodRecord
from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.preempting.budgets import Budget
from extender.scheduling.preempting.victims import Preemptor, Victims
from extender.server.state.book import Book
from extender.server.state.claiming import awaited, follow, renew


@dataclass(frozen=True, slots=True)
class PreemptCase:
    """What preempting is decided on: the candidate nodes, the pods there and their budgets, at one moment."""

    preemptor: Preemptor
    nodes: Mapping[str, NodeInfo]
    pods: Mapping[str, PodRecord]
    budgets: tuple[Budget, ...] | None


def begin_preempt(
    book: Book, pod: PodRecord, request: PodRequest, candidates: Mapping[str, Victims]
) -> PreemptCase | None:
    """What to decide on, so that the search needs no lock; None while the pod's earlier victims are leaving.

    The lock is held.
    """
    ledger = book.ledger
    # The pod in the call is as valid as the one in the watch, and often newer.
    book.note_freed(ledger.apply(PodChanged(pod)))
    follow(book, PodChanged(pod))
    claim = renew(book, pod.uid)
    # kube-scheduler offers other nodes alone once the claim's node is out of the question, tainted or gone.
    offered = claim is not None and (claim.node in candidates or not candidates)
    if claim is not None and offered and any(ledger.pods[uid].terminating for uid in awaited(book, pod, claim)):
        return None  # what it waits for is on the way
    known = book.without_own(pod.uid).nodes
    nodes = {name: known[name] for name in candidates if name in known}
    holders = (holder.uid for node in nodes.values() for holder in node.holders)
    uids = {*holders, *(uid for victims in candidates.values() for uid in victims.uids)}
    pods = {uid: ledger.pods[uid] for uid in uids if uid in ledger.pods}
    budgets = tuple(book.budgets.values()) if book.budgets is not None else None
    return PreemptCase(Preemptor(request, pod.priority, book.policy_of(request)), nodes, pods, budgets)


def end_preempt(book: Book, pod: PodRecord, answers: Mapping[str, Victims]) -> dict[str, Victims]:
    """The answer: of the nodes found those where pods failed least; their victims are remembered. The lock is held."""
    now_s = book.clock()
    wanted = least_struck(answers, book.avoiding.strikes(pod, now_s))
    book.evictions.remember(pod.uid, wanted, now_s)
    return dict(wanted)
