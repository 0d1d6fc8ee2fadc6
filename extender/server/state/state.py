"""Guards the ledger with a lock, and answers decoded calls and watch events from it. Nothing here waits or does I/O.

Every method takes the lock for microseconds; the clock is injected and monotonic.
"""

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from extender.contract.units import UnitMib
from extender.scheduling import waking
from extender.scheduling.avoiding import Failed, NodeFailure
from extender.scheduling.learning.weights import Weights
from extender.scheduling.ledger.events import ClusterEvent, PodChanged, PodRecord, PodsListed
from extender.scheduling.ledger.reservation import Reservation
from extender.scheduling.nodes.shape import NodeShape, counted
from extender.scheduling.nodes.snapshot import Snapshot
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Policy
from extender.scheduling.preempting.budgets import Budget
from extender.scheduling.preempting.preempt import preempt
from extender.scheduling.preempting.victims import Victims
from extender.scheduling.prioritizing import prioritize
from extender.scheduling.ranking.rankings import InForce
from extender.server.record.decisions import Decisions
from extender.server.state.bind import begin_bind
from extender.server.state.book import Book
from extender.server.state.claiming import follow, left_node
from extender.server.state.filter import filter_pod, stop_waiting
from extender.server.state.holds import adopt_holds, end_hold, hold_nominated, keep_for, take_in
from extender.server.state.outcomes import (
    BindStart,
    FilterOutcome,
    Passed,
    Rejected,
    Unavailable,
    VictimsTerminating,
)
from extender.server.state.preempt import begin_preempt, end_preempt
from extender.server.state.prioritize import costs_of
from extender.server.state.waiting import UNUSED_S


class State:
    """All that the extender knows; safe to use from many threads.

    Args:
        unit_mib: memory unit of the installation.
        policy: the cluster's policy.
        answers: nodes in a filter answer.
        keep: nodes in the answer to a pod that states a preference for some nodes.
        hold_s: how long a hold lasts where nothing tells of kube-scheduler's attempt.
        clock: monotonic seconds.
        view_problem: why the view of the cluster can't be trusted now, None when it can.
        decisions: remembers what was decided.
        report_failure: is told of each pod that failed where it was bound, and returns at once.
        schedulers: names of the schedulers that call; others are learned.
    """

    def __init__(
        self,
        *,
        unit_mib: UnitMib,
        policy: str,
        answers: int,
        keep: int = 1,
        hold_s: float,
        clock: Callable[[], float],
        view_problem: Callable[[], str | None],
        decisions: Decisions,
        report_failure: Callable[[NodeFailure], None] = lambda _failure: None,
        schedulers: Collection[str] = (),
    ) -> None:
        self.unit_mib = unit_mib
        self.decisions = decisions
        self._clock = clock
        self._view_problem = view_problem
        self._report_failure = report_failure
        self._lock = threading.Lock()
        self._book = Book(unit_mib, policy, answers, keep, hold_s, clock, schedulers=frozenset(schedulers))
        self._prepared: tuple[Weights, InForce] | None = None

    @property
    def policy(self) -> Policy:
        """The cluster's policy, with what is learned so far."""
        return self._book.policy

    def policy_of(self, request: PodRequest) -> Policy:
        """The policy that places this request: its own or the cluster's."""
        return self._book.policy_of(request)

    def prepare(self, weights: Weights, most: int) -> bool:
        """Compute at most `most` answers for policies with these weights, and put them in force when all are there.

        Return whether they are in force now; else there is more to do. Calls that run meanwhile use the old policies.
        """
        with self._lock:
            if self._prepared is None or self._prepared[0] is not weights:
                self._prepared = (weights, self._book.in_force.under(weights))
            prepared = self._prepared[1]
            if not prepared.prepare(self._book.ledger, most):
                return False
            self._book.in_force, self._prepared = prepared, None
        return True

    @property
    def schedulers(self) -> frozenset[str]:
        """Names of the schedulers that call, as far as they are known."""
        return self._book.schedulers

    def shapes(self) -> Counter[NodeShape]:
        """How many nodes there are of each shape."""
        with self._lock:
            nodes = list(self._book.ledger.nodes.values())
        return counted([node.record.shape for node in nodes])

    def filter(self, pod: PodRecord, names: Collection[str]) -> FilterOutcome:
        """Which nodes can take the pod; room for it is held on the best of them."""
        problem = self._view_problem()
        with self._lock:
            self._book.beat()
            self._book.meet(pod.scheduler)
            if problem is None and pod.request is not None:
                return filter_pod(self._book, pod, pod.request, names, self.decisions)
            end_hold(self._book, pod.uid)
        if problem is not None:
            return Unavailable(problem)
        if pod.request_error:
            self.decisions.invalid(pod)
            return Rejected(dict.fromkeys(names, pod.request_error))
        return Passed(tuple(names))

    def refuse(self, pod: PodRecord, outcome: VictimsTerminating) -> Rejected:
        """The answer to a pod whose victims take their time; it is woken once they are gone."""
        with self._lock:
            return stop_waiting(self._book, pod, outcome, self.decisions)

    def prioritize(self, pod: PodRecord, names: Collection[str]) -> list[tuple[str, int]]:
        """Scores of the nodes; the pod's own hold does not count against them."""
        if pod.request is None:
            return [(name, 0) for name in names]
        with self._lock:
            costs = costs_of(self._book, pod, pod.request, names)
        return prioritize(costs, names)

    def preempt(self, pod: PodRecord, candidates: Mapping[str, Victims]) -> dict[str, Victims]:
        """The candidates where the evictions would make room, with the victims that it takes."""
        if pod.request_error or self._view_problem() is not None:
            return {}  # evicted for nothing, or by an old view: neither can be taken back
        if pod.node:
            # Its CPU or memory is resized where it is: there kube-scheduler's own account is all that counts.
            return {name: victims for name, victims in candidates.items() if name == pod.node}
        if pod.request is None:
            return dict(candidates)
        with self._lock:
            self._book.meet(pod.scheduler)
            end_hold(self._book, pod.uid)  # no node passed kube-scheduler's own filters in this try
            case = begin_preempt(self._book, pod, pod.request, candidates)
        if case is None:
            return {}
        answers = preempt(
            case.nodes, candidates, case.preemptor, case.pods, unit_mib=self.unit_mib, budgets=case.budgets
        )
        with self._lock:
            answers = end_preempt(self._book, pod, answers)
        if answers:
            self.decisions.preempting(pod, case.preemptor.policy.name, answers)
        return answers

    def beat(self) -> None:
        """The process runs; see `Book.beat`."""
        with self._lock:
            self._book.beat()

    def begin_bind(self, uid: str, node: str, *, looked: bool = True) -> BindStart:
        """Charge the pod on `node`: with the GPUs held for it there, else with newly chosen ones.

        `looked`: the pods of the node have just been read.
        """
        problem = self._view_problem()
        with self._lock:
            return begin_bind(self._book, uid, node, problem, looked=looked)

    def forget(self, uid: str) -> None:
        """The Binding was not written: give the room back."""
        with self._lock:
            self._book.note_freed(self._book.ledger.forget(uid))

    def end_hold(self, held: Reservation) -> None:
        """The attempt for which this was held is over, and kube-scheduler is told: give the room back.

        A newer attempt of the pod, and a Binding that may have been written, keep theirs.
        """
        with self._lock:
            now = self._book.ledger.reservation(held.holder.uid)
            if now is not None and now.since_s == held.since_s:
                end_hold(self._book, held.holder.uid)

    def apply(self, event: ClusterEvent) -> None:
        """Take in what a watch or a live read has shown."""
        with self._lock:
            failures = self._failures(event)
            left = left_node(self._book, event)
            nominated = take_in(self._book, event)
            follow(self._book, event, left)
            if nominated is not None:
                hold_nominated(self._book, nominated)
        for failure in failures:
            self._report_failure(failure)

    def _failures(self, event: ClusterEvent) -> Sequence[NodeFailure]:
        """What the event tells of pods that failed where they were bound; the lock is held, nothing is applied yet."""
        if isinstance(event, PodChanged):
            pods: tuple[PodRecord, ...] = (event.pod,)
        elif isinstance(event, PodsListed):
            pods = event.pods
        else:
            return ()
        now_s, known = self._clock(), self._book.ledger.pods
        seen = [self._book.avoiding.seen(known.get(pod.uid), pod, now_s) for pod in pods if pod.node]
        return [failure for failure in seen if failure is not None]

    def avoided(self, pod: PodRecord | None = None) -> dict[str, list[NodeFailure]]:
        """The failures of the last minutes by node; those that count for `pod`, when one is given."""
        with self._lock:
            return self._book.avoiding.nodes(self._clock(), pod)

    def failures(self) -> Counter[Failed]:
        """How many failures of pods on nodes were seen since the start."""
        with self._lock:
            return self._book.avoiding.counts.copy()

    def replace_budgets(self, budgets: Iterable[Budget], unreadable: Collection[str] = ()) -> None:
        """These are all PodDisruptionBudgets; those `unreadable`, by UID, stay as they were."""
        with self._lock:
            kept = {uid: budget for uid, budget in (self._book.budgets or {}).items() if uid in unreadable}
            self._book.budgets = kept | {budget.uid: budget for budget in budgets}

    def change_budget(self, uid: str, budget: Budget | None) -> None:
        """A PodDisruptionBudget was added or modified, or (None) is gone."""
        with self._lock:
            others = {key: known for key, known in (self._book.budgets or {}).items() if key != uid}
            self._book.budgets = others if budget is None else {**others, uid: budget}

    def pod(self, uid: str) -> PodRecord | None:
        """What is known of a pod."""
        with self._lock:
            return self._book.ledger.pods.get(uid)

    def find(self, namespace: str, name: str) -> PodRecord | None:
        """The pod of that name, the newest where several had it."""
        with self._lock:
            pods = list(self._book.ledger.pods.values())
        found = [pod for pod in pods if pod.name == name and pod.namespace == namespace]
        return max(found, key=lambda pod: pod.resource_version, default=None)

    def pending(self) -> list[PodRecord]:
        """The pods that ask for GPUs and have no node."""
        with self._lock:
            return list(self._book.ledger.pending.values())

    def snapshot(self) -> Snapshot:
        """The cluster now, as a copy."""
        with self._lock:
            self._book.note_freed(self._book.ledger.expire(self._clock()))
            return self._book.ledger.snapshot().copy()

    def snapshot_for(self, uid: str) -> Snapshot:
        """The cluster as this pod would find it: without its own hold, as a copy."""
        with self._lock:
            self._book.note_freed(self._book.ledger.expire(self._clock()))
            return self._book.without_own(uid).copy()

    def now_s(self) -> float:
        """The time by the clock of the reservations."""
        return self._clock()

    def reservation(self, uid: str) -> Reservation | None:
        """Where room is assumed or held for the pod, and until when."""
        with self._lock:
            return self._book.ledger.reservation(uid)

    def ending_holds(self, within_s: float) -> list[Reservation]:
        """The holds that end within that time."""
        now_s = self._clock()
        with self._lock:
            holds = [held for _, held in self._book.ledger.reservations() if held.held]
        return [held for held in holds if held.expires_s is not None and now_s < held.expires_s <= now_s + within_s]

    def keep_hold(self, held: Reservation, node: str, for_s: float) -> None:
        """kube-scheduler is seen to wait to bind the pod to `node`: keep its room there, if it still has this hold."""
        until_s = self._clock() + for_s
        with self._lock:
            keep_for(self._book, held, node, until_s)

    def unsettled(self, older_than_s: float) -> list[Reservation]:
        """Assumptions that nothing has confirmed for that long."""
        now_s = self._clock()
        with self._lock:
            return [
                reservation
                for _, reservation in self._book.ledger.reservations()
                if reservation.assumed and now_s - reservation.since_s >= older_than_s
            ]

    def counts(self) -> dict[str, int]:
        """Sizes of what is kept, for metrics."""
        with self._lock:
            reservations = [reservation for _, reservation in self._book.ledger.reservations()]
            return {
                "nodes": len(self._book.ledger.snapshot().nodes),
                "pods": len(self._book.ledger.pods),
                "pending": len(self._book.ledger.pending),
                "assumed": sum(one.assumed for one in reservations),
                "held": sum(one.held for one in reservations),
                "claimed": sum(one.claimed for one in reservations),
                "waiting": len(self._book.waiting),
            }

    def waiting(self) -> list[str]:
        """UIDs of the pods that were refused and wait for room."""
        with self._lock:
            return self._book.waiting.uids()

    def adopt_holds(self) -> None:
        """After the first lists, and before anything else: keep the room of pods that are about to be bound."""
        with self._lock:
            self._book.learn_schedulers()
            adopt_holds(self._book)

    def adopt_waiting(self) -> None:
        """After the first lists: pods that were refused before this process began wait for room, too.

        Those of other schedulers do not: a retry is of no use to them. A scheduler of which nothing tells yet is known
        by its first call, and its pods are adopted then.
        """
        book = self._book
        with self._lock:
            book.in_force.rankings.follow(book.ledger)
            book.learn_schedulers()
            book.adopt(book.schedulers)
            book.adopts = True

    def worth_waking(
        self, settled_s: float, limit: int, may_wake: Callable[[waking.RefusedPod], bool] = lambda _pod: True
    ) -> list[waking.RefusedPod]:
        """Pods to wake: refused before room appeared, still waiting `settled_s` after it did, and fitting now.

        At most `limit`; when that many are named, the next call goes on with the others. Room that is still free some
        seconds later is offered to the next ones, and to those that `may_wake` leaves out now. For one thread only.
        """
        now_s = self._clock()
        with self._lock:
            self._book.note_freed(self._book.ledger.expire(now_s))
            ripe = self._book.waiting.take_ripe(self._book.ledger, settled_s, now_s)
        if ripe is None:
            return []
        may = [pod for pod in ripe.pods if may_wake(pod)]
        pods = waking.worth_waking(may, ripe.nodes, limit=limit, unit_mib=self.unit_mib, first_seen=ripe.first_seen)
        with self._lock:
            self._book.waiting.woke(pods, now_s)
            if pods or len(may) < len(ripe.pods):
                self._book.waiting.offer_again(ripe, now_s + (UNUSED_S if len(pods) < limit else 0.0))
        return pods
