"""Guards the ledger with a lock, and answers decoded calls and watch events from it. Nothing here waits or does I/O.

Every method takes the lock for microseconds; the clock is injected and monotonic.
"""

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping

from extender.contract.units import UnitMib
from extender.scheduling import waking
from extender.scheduling.filtering import filter_nodes
from extender.scheduling.fitting.fitting import Fit, fit
from extender.scheduling.fitting.reasons import Misfit
from extender.scheduling.learning.weights import Weights
from extender.scheduling.ledger.binding import Plan, holder_of, holds_good, plan_binding, plan_on
from extender.scheduling.ledger.events import ClusterEvent, PodChanged, PodDeleted, PodRecord
from extender.scheduling.ledger.ledger import Ledger, Reservation
from extender.scheduling.nodes.node import Hold, NodeInfo
from extender.scheduling.nodes.shape import NodeShape, counted
from extender.scheduling.nodes.snapshot import Snapshot
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Cost, Policy
from extender.scheduling.policies.table import policy_named
from extender.scheduling.preemption import Preemptor, Victims, preempt
from extender.scheduling.prioritizing import prioritize
from extender.scheduling.ranking.ranking import Feasible
from extender.scheduling.ranking.rankings import InForce
from extender.server.record.decisions import Decisions
from extender.server.state.evictions import Evictions
from extender.server.state.outcomes import (
    AlreadyBound,
    Assumed,
    BindStart,
    FilterOutcome,
    Passed,
    Refused,
    Rejected,
    Unavailable,
    UnknownPod,
    VictimsTerminating,
)
from extender.server.state.waiting import MAX_ASKED, Waiting


class State:
    """All that the extender knows; safe to use from many threads.

    Args:
        unit_mib: memory unit of the installation.
        policy: the cluster's policy.
        answers: nodes in a filter answer.
        hold_s: how long a hold lasts.
        clock: monotonic seconds.
        view_problem: why the view of the cluster can't be trusted now, None when it can.
        decisions: remembers what was decided.
    """

    def __init__(
        self,
        *,
        unit_mib: UnitMib,
        policy: str,
        answers: int,
        hold_s: float,
        clock: Callable[[], float],
        view_problem: Callable[[], str | None],
        decisions: Decisions,
    ) -> None:
        self.unit_mib = unit_mib
        self._policy = policy_named(policy).name
        self.decisions = decisions
        self._answers = answers
        self._hold_s = hold_s
        self._clock = clock
        self._view_problem = view_problem
        self._lock = threading.Lock()
        self._ledger = Ledger(unit_mib)
        self._in_force = InForce()
        self._prepared: tuple[Weights, InForce] | None = None
        self._evictions = Evictions(unit_mib)
        self._waiting = Waiting()
        self._latest: tuple[str, Policy, NodeInfo | None] | None = None

    @property
    def policy(self) -> Policy:
        """The cluster's policy, with what is learned so far."""
        return self._in_force.policies[self._policy]

    def policy_of(self, request: PodRequest) -> Policy:
        """The policy that places this request: its own or the cluster's."""
        return policy_named(request.policy, self._in_force.policies) if request.policy else self.policy

    def prepare(self, weights: Weights, most: int) -> bool:
        """Compute at most `most` answers for policies with these weights, and put them in force when all are there.

        Return whether they are in force now; else there is more to do. Calls that run meanwhile use the old policies.
        """
        with self._lock:
            if self._prepared is None or self._prepared[0] is not weights:
                self._prepared = (weights, self._in_force.under(weights))
            prepared = self._prepared[1]
            if not prepared.prepare(self._ledger, most):
                return False
            self._in_force, self._prepared = prepared, None
        return True

    def shapes(self) -> Counter[NodeShape]:
        """How many nodes there are of each shape."""
        with self._lock:
            nodes = list(self._ledger.nodes.values())
        return counted([node.record.shape for node in nodes])

    def filter(self, pod: PodRecord, names: Collection[str]) -> FilterOutcome:
        """Which nodes can take the pod; room for it is held on the best of them."""
        problem = self._view_problem()
        if problem is not None:
            return Unavailable(problem)
        if pod.request_error:
            self.decisions.invalid(pod)
            return Rejected(dict.fromkeys(names, pod.request_error))
        if pod.request is None:
            return Passed(tuple(names))
        now_s = self._clock()
        with self._lock:
            policy = self.policy_of(pod.request)
            # The pod in the call is as valid as the one in the watch, and often newer.
            self._note_freed((*self._ledger.expire(now_s), *self._ledger.apply(PodChanged(pod))))
            known = self._ledger.pods.get(pod.uid)
            if known is not None and known.node:
                return Unavailable(f"pod is bound to {known.node} already")
            reservation = self._ledger.reservation(pod.uid)
            if reservation is not None and reservation.expires_s is None:
                return Unavailable(f"an earlier bind of the pod to {reservation.node} is being settled")
            self._note_freed(self._ledger.release(pod.uid))
            rankings = self._in_force.rankings
            filtered = filter_nodes(rankings, self._ledger, names, pod.request, policy, answers=self._answers)
            ranked = filtered.ranked
            if ranked.first is not None:
                plan = self._hold(pod, pod.request, policy, ranked.first, now_s)
                self._waiting.remove(pod.uid)
                self._evictions.forget(pod.uid)
            else:
                if self._evictions.awaited(pod, pod.request, policy, self._ledger.nodes.get(pod.nominated_node)):
                    return VictimsTerminating("pods that were evicted for this one still hold their memory")
                asked = frozenset(names) if len(names) <= MAX_ASKED else None
                self._wait(pod, pod.request, policy, now_s, asked)
        if ranked.first is None:
            self.decisions.rejected(pod, filtered.rejected)
            return Rejected({name: reason.text for name, reason in filtered.rejected.items()})
        self.decisions.chose(
            pod, policy.name, plan, feasible=ranked.fitting, refused=ranked.refused, runner_up=ranked.runner_up
        )
        return Passed(ranked.names, plan)

    def prioritize(self, pod: PodRecord, names: Collection[str]) -> list[tuple[str, int]]:
        """Scores of the nodes; the pod's own hold does not count against them."""
        request = pod.request
        if request is None:
            return [(name, 0) for name in names]
        with self._lock:
            policy = self.policy_of(request)
            costs = self._in_force.rankings.of(request, policy).costs(self._ledger, names)
            own = self._ledger.reservation(pod.uid)
            if own is not None and own.node in names:
                cost = self._own_cost(own, request, policy)
                if cost is not None:
                    costs[own.node] = cost
        return prioritize(costs, names)

    def preempt(self, pod: PodRecord, candidates: Mapping[str, Victims]) -> dict[str, Victims]:
        """The candidates where the evictions would make room, with the victims that it takes."""
        request = pod.request
        if pod.request_error or self._view_problem() is not None:
            return {}  # evicted for nothing, or by an old view: neither can be taken back
        if request is None:
            return dict(candidates)
        preemptor = Preemptor(request, pod.priority, self.policy_of(request))
        with self._lock:
            snapshot = self._without_own(pod.uid)
            answers = preempt(snapshot, candidates, preemptor, self._ledger.pods, unit_mib=self.unit_mib)
            self._evictions.remember(pod.uid, answers)
        if answers:
            self.decisions.preempting(pod, preemptor.policy.name, answers)
        return answers

    def begin_bind(self, uid: str, node: str) -> BindStart:
        """Charge the pod on `node`: with the GPUs held for it there, else with newly chosen ones.

        What filter held was chosen on a view that was good then; a new choice needs one that is good now.
        """
        now_s = self._clock()
        problem = self._view_problem()
        with self._lock:
            if self._ledger.is_gone(uid):
                return Refused("pod is gone")
            pod = self._ledger.pods.get(uid)
            if pod is not None and pod.node:
                asks = pod.request is not None or pod.request_error
                return AlreadyBound(pod.node, has_gpus=not asks or pod.footprint is not None)
            reservation = self._ledger.reservation(uid)
            if reservation is not None and reservation.expires_s is None:
                return Refused(f"an earlier bind of the pod to {reservation.node} is being settled")
            if pod is None or pod.request is None:
                return UnknownPod() if pod is None else Refused(pod.request_error or "pod asks for no GPU")
            held = self._held_plan(reservation, node, pod.request)
            if held is None and problem is not None:
                return Refused(problem)
            plan = held or self._new_plan(uid, node, pod.request)
            if isinstance(plan, Misfit):
                return Refused(plan.text)
            holder = holder_of(pod, pod.request, plan, Hold.ASSUMED)
            freed = self._ledger.assume(node, holder, pod.resource_version, since_s=now_s, plan=plan)
            self._note_freed(freed)
            return Assumed(plan, pod)

    def _own_cost(self, own: Reservation, request: PodRequest, policy: Policy) -> Cost | None:
        """What the node where the pod has its place would cost without it; None when it would not fit."""
        uid = own.holder.uid
        now = self._ledger.nodes.get(own.node)
        if own.plan is not None and own.holder.request == request and self._latest == (uid, policy, now):
            return own.plan.cost  # as filter found it, for nothing has changed there but the hold
        emptier = self._without_own(uid).nodes.get(own.node)
        answer = fit(emptier, request, policy) if emptier is not None else None
        return answer.cost if isinstance(answer, Fit) else None

    def _held_plan(self, reservation: Reservation | None, node: str, request: PodRequest) -> Plan | None:
        """What filter held for this very request on this node, if it can still be carried out."""
        if reservation is None or reservation.plan is None or reservation.holder.request != request:
            return None
        held = reservation.plan
        good = held.node == node and holds_good(self._ledger.nodes.get(node), held)
        return held if good else None

    def _new_plan(self, uid: str, node: str, request: PodRequest) -> Plan | Misfit:
        self._note_freed(self._ledger.release(uid))
        info = self._ledger.nodes.get(node)
        return plan_binding(info, request, self.policy_of(request), unit_mib=self.unit_mib)

    def forget(self, uid: str) -> None:
        """The Binding was not written: give the room back."""
        with self._lock:
            self._note_freed(self._ledger.forget(uid))

    def apply(self, event: ClusterEvent) -> None:
        """Take in what a watch or a live read has shown."""
        with self._lock:
            self._note_freed(self._ledger.apply(event))
            if isinstance(event, PodDeleted):
                self._waiting.remove(event.uid)

    def pod(self, uid: str) -> PodRecord | None:
        """What is known of a pod."""
        with self._lock:
            return self._ledger.pods.get(uid)

    def find(self, namespace: str, name: str) -> PodRecord | None:
        """The pod of that name, the newest where several had it."""
        with self._lock:
            pods = list(self._ledger.pods.values())
        found = [pod for pod in pods if pod.name == name and pod.namespace == namespace]
        return max(found, key=lambda pod: pod.resource_version, default=None)

    def pending(self) -> list[PodRecord]:
        """The pods that ask for GPUs and have no node."""
        with self._lock:
            return list(self._ledger.pending.values())

    def snapshot(self) -> Snapshot:
        """The cluster now, as a copy."""
        with self._lock:
            self._note_freed(self._ledger.expire(self._clock()))
            return self._ledger.snapshot().copy()

    def snapshot_for(self, uid: str) -> Snapshot:
        """The cluster as this pod would find it: without its own hold, as a copy."""
        with self._lock:
            self._note_freed(self._ledger.expire(self._clock()))
            return self._without_own(uid).copy()

    def reserved_on(self, uid: str) -> str:
        """The node where room is assumed or held for the pod; empty when none is."""
        with self._lock:
            reservation = self._ledger.reservation(uid)
            return reservation.node if reservation is not None else ""

    def unsettled(self, older_than_s: float) -> list[Reservation]:
        """Assumptions that nothing has confirmed for that long."""
        now_s = self._clock()
        with self._lock:
            return [
                reservation
                for _, reservation in self._ledger.reservations()
                if reservation.expires_s is None and now_s - reservation.since_s >= older_than_s
            ]

    def counts(self) -> dict[str, int]:
        """Sizes of what is kept, for metrics."""
        with self._lock:
            reservations = [reservation for _, reservation in self._ledger.reservations()]
            return {
                "nodes": len(self._ledger.snapshot().nodes),
                "pods": len(self._ledger.pods),
                "pending": len(self._ledger.pending),
                "assumed": sum(one.expires_s is None for one in reservations),
                "held": sum(one.expires_s is not None for one in reservations),
                "waiting": len(self._waiting),
            }

    def waiting(self) -> list[str]:
        """UIDs of the pods that were refused and wait for room."""
        with self._lock:
            return self._waiting.uids()

    def adopt_waiting(self) -> None:
        """After the first lists: pods that were refused before this process began wait for room, too."""
        now_s = self._clock()
        with self._lock:
            for pod in self._ledger.pending.values():
                if pod.unschedulable and pod.request is not None:
                    self._wait(pod, pod.request, self.policy_of(pod.request), now_s)
            self._in_force.rankings.follow(self._ledger)
            self._waiting.note_freed(self._ledger.snapshot().nodes, now_s)

    def worth_waking(self, settled_s: float, limit: int) -> list[waking.RefusedPod]:
        """Pods to wake: refused before room appeared, still waiting `settled_s` after it did, and fitting now.

        At most `limit`; when that many are named, the next call goes on with the others. For one thread only.
        """
        now_s = self._clock()
        with self._lock:
            self._note_freed(self._ledger.expire(now_s))
            ripe = self._waiting.take_ripe(self._ledger, settled_s, now_s)
        if ripe is None:
            return []
        pods = waking.worth_waking(
            ripe.pods, ripe.nodes, limit=limit, unit_mib=self.unit_mib, first_seen=ripe.first_seen
        )
        with self._lock:
            if len(pods) < limit:
                self._waiting.woke_all()
            else:
                self._waiting.woke(ripe, pods, now_s)
        return pods

    def _hold(self, pod: PodRecord, request: PodRequest, policy: Policy, best: Feasible, now_s: float) -> Plan:
        plan = plan_on(self._ledger.nodes[best.node], request, best.fit, unit_mib=self.unit_mib)
        expires_s = now_s + self._hold_s
        holder = holder_of(pod, request, plan, Hold.HELD)
        self._ledger.hold(best.node, holder, pod.resource_version, expires_s, plan=plan)
        self._latest = (pod.uid, policy, self._ledger.nodes[best.node])
        return plan

    def _wait(
        self, pod: PodRecord, request: PodRequest, policy: Policy, now_s: float, asked: frozenset[str] | None = None
    ) -> None:
        self._waiting.add(
            waking.RefusedPod(
                pod.uid, pod.namespace, pod.name, request, policy, pod.priority, now_s, asked, self._ledger.generation
            )
        )

    def _note_freed(self, names: Iterable[str]) -> None:
        self._waiting.note_freed(names, self._clock())

    def _without_own(self, uid: str) -> Snapshot:
        """The ledger's view without what is held for this pod; a bound or assumed pod keeps what it has."""
        reservation = self._ledger.reservation(uid)
        if reservation is None or reservation.expires_s is None:
            return self._ledger.snapshot()
        return self._ledger.snapshot_without(uid)
