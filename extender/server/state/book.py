"""Gathers what the state's lock guards, and what more than one of kube-scheduler's calls needs of it."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from math import inf

from extender.contract.units import UnitMib
from extender.scheduling.avoiding import Avoiding
from extender.scheduling.ledger.attempts import Passes
from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.ledger.ledger import Ledger
from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.nodes.snapshot import Snapshot
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Policy
from extender.scheduling.policies.table import policy_named
from extender.scheduling.preempting.budgets import Budget
from extender.scheduling.ranking.rankings import InForce
from extender.scheduling.waking import RefusedPod
from extender.server.state.evictions import Evictions
from extender.server.state.waiting import Waiting

STANDSTILL_S = 3.0
"""A process that was stopped for less than this has not been replaced: kube-scheduler's lease lasts for 15 s."""

CATCH_UP_S = 10.0
"""Time in which the watches tell what happened while the process stood still."""


@dataclass(slots=True)
class Book:
    """All that is kept of the cluster; whoever uses it holds the state's lock.

    Args:
        unit_mib: memory unit of the installation.
        policy_name: the cluster's policy.
        answers: nodes in a filter answer.
        keep: nodes in the answer to a pod that states a preference for some nodes, which other plugins weigh.
        hold_s: how long a hold lasts where nothing tells of kube-scheduler's attempt.
        clock: monotonic seconds.
        latest: whose hold was made last, by which policy, and the node as it was then.
        asked_alone: UID of the pod that was refused last, if only its nominated node was asked about.
        schedulers: names of the schedulers that call.
        adopts: whether pods are adopted that were refused before this process began.
        budgets: PodDisruptionBudgets by UID; None while they are not known.
    """

    unit_mib: UnitMib
    policy_name: str
    answers: int
    keep: int
    hold_s: float
    clock: Callable[[], float]
    ledger: Ledger = field(init=False)
    evictions: Evictions = field(init=False)
    passes: Passes = field(init=False)
    in_force: InForce = field(default_factory=InForce)
    waiting: Waiting = field(default_factory=Waiting)
    avoiding: Avoiding = field(default_factory=Avoiding)
    latest: tuple[str, Policy, NodeInfo | None] | None = None
    asked_alone: str = ""
    schedulers: frozenset[str] = frozenset()
    adopts: bool = False
    budgets: dict[str, Budget] | None = None
    _beat_s: float = field(init=False)
    _caught_up_s: float = field(init=False, default=-inf)

    def __post_init__(self) -> None:
        self.policy_name = policy_named(self.policy_name).name
        self.ledger = Ledger(self.unit_mib)
        self._beat_s = self.clock()
        self.evictions = Evictions()
        self.passes = Passes(2 * self.hold_s)  # a hold of half the time between two tries leaves the others the rest

    def beat(self) -> None:
        """The process runs: called several times a second, a gap tells of a standstill (SIGSTOP, a paused VM)."""
        now_s = self.clock()
        if now_s - self._beat_s > STANDSTILL_S:
            self._caught_up_s = now_s + CATCH_UP_S
        self._beat_s = now_s

    @property
    def stood_still(self) -> bool:
        """Whether the process stood still a moment ago, so that the view may be older than it seems."""
        self.beat()
        return self.clock() < self._caught_up_s

    @property
    def policy(self) -> Policy:
        """The cluster's policy, with what is learned so far."""
        return self.in_force.policies[self.policy_name]

    def policy_of(self, request: PodRequest) -> Policy:
        """The policy that places this request: its own or the cluster's."""
        return policy_named(request.policy, self.in_force.policies) if request.policy else self.policy

    def note_freed(self, names: Iterable[str]) -> None:
        """Room has appeared on these nodes."""
        self.waiting.note_freed(names, self.clock())

    def wait(
        self, pod: PodRecord, request: PodRequest, policy: Policy, now_s: float, asked: frozenset[str] | None = None
    ) -> None:
        """The pod was refused on the nodes `asked` (None: too many to remember) and waits for room."""
        self.waiting.add(
            RefusedPod(
                pod.uid, pod.namespace, pod.name, request, policy, pod.priority, now_s, asked, self.ledger.generation
            )
        )

    def meet(self, scheduler: str) -> None:
        """A scheduler of that name calls, so the pods that it has not placed yet are ours to wake."""
        if scheduler not in self.schedulers:
            self.schedulers |= {scheduler}
            if self.adopts:
                self.adopt((scheduler,))

    def learn_schedulers(self) -> None:
        """The schedulers of pods that are bound with an allocation call: an extender wrote that."""
        self.schedulers |= {pod.scheduler for pod in self.ledger.pods.values() if pod.node and pod.policy}

    def adopt(self, schedulers: Collection[str]) -> None:
        """Let the pods wait for room that these schedulers refused before this process began."""
        now_s = self.clock()
        for pod in self.ledger.pending.values():
            if pod.request is None or pod.uid in self.waiting:
                continue
            if pod.unschedulable and pod.scheduler in schedulers:
                self.wait(pod, pod.request, self.policy_of(pod.request), now_s)
        self.waiting.note_freed(self.ledger.nodes, now_s)

    def without_own(self, uid: str) -> Snapshot:
        """The ledger's view without what is held for this pod; a bound or assumed pod keeps what it has."""
        reservation = self.ledger.reservation(uid)
        if reservation is None or reservation.assumed:
            return self.ledger.snapshot()
        return self.ledger.snapshot_without(uid)
