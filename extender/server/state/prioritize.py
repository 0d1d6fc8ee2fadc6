"""Prioritizes: scores the nodes that filter named, for kube-scheduler to weigh with its own plugins."""

from collections.abc import Collection, Mapping

from extender.scheduling.avoiding import least_struck
from extender.scheduling.fitting.fitting import Fit, fit
from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.ledger.reservation import Reservation
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Cost, Policy
from extender.server.state.book import Book


def costs_of(book: Book, pod: PodRecord, request: PodRequest, names: Collection[str]) -> Mapping[str, Cost]:
    """The cost of each node that the pod fits and where it is wanted, its own hold left out; the lock is held.

    Of nodes where pods failed lately only those with the fewest failures are wanted.
    """
    policy = book.policy_of(request)
    costs = book.in_force.rankings.of(request, policy).costs(book.ledger, names)
    own = book.ledger.reservation(pod.uid)
    if own is not None and own.node in names:
        cost = _own_cost(book, own, request, policy)
        if cost is not None:
            costs[own.node] = cost
    return least_struck(costs, book.avoiding.strikes(pod, book.clock()))


def _own_cost(book: Book, own: Reservation, request: PodRequest, policy: Policy) -> Cost | None:
    """What the node where the pod has its place would cost without it; None when it would not fit."""
    uid = own.holder.uid
    now = book.ledger.nodes.get(own.node)
    if own.plan is not None and own.holder.request == request and book.latest == (uid, policy, now):
        return own.plan.cost  # as filter found it, for nothing has changed there but the hold
    emptier = book.without_own(uid).nodes.get(own.node)
    answer = fit(emptier, request, policy) if emptier is not None else None
    return answer.cost if isinstance(answer, Fit) else None
