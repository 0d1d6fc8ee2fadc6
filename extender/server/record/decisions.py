"""Keeps the latest decisions on each pod, within a bound, and reports each decision once.

A refusal for the same reasons as before, or the same evictions again, is the same decision: it is counted, not
reported.
"""

import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice

from extender.contract.units import GpuUuid, Units
from extender.scheduling.fitting.reasons import Misfit
from extender.scheduling.ledger.binding import Plan
from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.pods.footprint import Footprint
from extender.scheduling.preempting.victims import Victims
from extender.scheduling.ranking.ranking import RunnerUp

MAX_REMEMBERED = 20_000
"""Pods whose decisions are kept: those decided on most recently."""

_BY_TEXT = {reason.text: reason for reason in Misfit}
MAX_OF_A_POD = 8
MAX_RECENT = 1_000


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided on one pod.

    Args:
        verdict: `held` (passed filter), `rejected`, `bound`, `not bound`, `preempting` or `moved` (by the kubelet).
        at: RFC 3339.
        policy: policy that chose.
        node: node chosen, empty when none.
        gpus: units per container and GPU, as in the allocation annotation.
        cost: the policy's cost of the node chosen; smaller is better.
        feasible: nodes of the cluster on which the pod fitted (kube-scheduler may have asked about fewer).
        rejected: nodes on which it did not, by reason: of the cluster, or of those asked about when none fitted.
        message: what went wrong with a bind, why a request is invalid, or which GPUs were swapped.
        runner_up: the next best node and its cost; None when there was none.
        victims: UIDs of pods whose eviction makes room, by node.
        times: how often the same was decided in a row.
        last_at: when it was decided last; empty when that was `at`.
        avoided: nodes asked about that came after the one chosen only because pods failed there lately.
        whole: the GPUs of `gpus` that the pod gets all of, because it asks for whole ones.
    """

    verdict: str
    at: str
    policy: str = ""
    node: str = ""
    gpus: Mapping[str, Mapping[GpuUuid, Units]] = field(default_factory=dict)
    cost: tuple[float, ...] = ()
    feasible: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    message: str = ""
    runner_up: RunnerUp | None = None
    victims: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    times: int = 1
    last_at: str = ""
    avoided: int = 0
    whole: tuple[GpuUuid, ...] = ()

    def same_as(self, other: "Decision") -> bool:
        """Whether the other is the same decision; how many nodes refuse for a reason does not matter."""
        return (
            self.verdict == other.verdict
            and self.verdict in {"rejected", "preempting"}
            and self.rejected.keys() == other.rejected.keys()
            and self.message == other.message
            and self.victims == other.victims
        )


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision and the pod that it is on."""

    namespace: str
    name: str
    uid: str
    decision: Decision


@dataclass(frozen=True, slots=True)
class History:
    """The decisions on one pod, oldest first; `forgotten` older ones are no longer known."""

    namespace: str
    name: str
    uid: str
    decisions: tuple[Decision, ...] = ()
    forgotten: int = 0
    planned: Footprint | None = field(default=None, repr=False)


def timestamp(now: datetime) -> str:
    """RFC 3339 in UTC with milliseconds."""
    utc = now if now.tzinfo is UTC else now.astimezone(UTC)
    return f"{utc.isoformat(timespec='milliseconds')[:-6]}Z"


class Decisions:
    """Decisions by pod UID; `report` gets each once, in the thread that decided, and must return at once."""

    def __init__(
        self,
        now: Callable[[], datetime],
        limit: int = MAX_REMEMBERED,
        report: Callable[[Decided], None] = lambda _decided: None,
    ) -> None:
        self._now = now
        self._limit = limit
        self._report = report
        self._lock = threading.Lock()
        self._known: OrderedDict[str, History] = OrderedDict()
        self._recent: deque[Decided] = deque(maxlen=MAX_RECENT)
        self._reported = 0
        self.since = self.now()

    def now(self) -> str:
        """The time in the form of `Decision.at`."""
        return timestamp(self._now())

    def chose(
        self,
        pod: PodRecord,
        policy: str,
        plan: Plan,
        *,
        feasible: int,
        refused: Mapping[Misfit, int],
        runner_up: RunnerUp | None = None,
        avoided: int = 0,
    ) -> None:
        """The pod passed filter and room for `plan` is held; reported once it is bound."""
        self._remember(
            pod,
            Decision(
                "held",
                self.now(),
                policy,
                plan.node,
                plan.allocation.containers,
                plan.cost,
                feasible,
                _texts(refused),
                runner_up=runner_up,
                avoided=avoided,
                whole=tuple(sorted(plan.footprint.whole)),
            ),
        )

    def rejected(self, pod: PodRecord, rejected: Mapping[str, Misfit]) -> None:
        """The pod fits nowhere."""
        self._remember(pod, Decision("rejected", self.now(), rejected=_texts(Counter(rejected.values()))))

    def invalid(self, pod: PodRecord) -> None:
        """The pod's request is invalid."""
        self._remember(pod, Decision("rejected", self.now(), message=pod.request_error))

    def preempting(self, pod: PodRecord, policy: str, answers: Mapping[str, Victims]) -> None:
        """Evictions on these nodes would make room; kube-scheduler picks one of them."""
        victims = {name: each.uids for name, each in sorted(answers.items())}
        self._remember(pod, Decision("preempting", self.now(), policy, victims=victims))

    def bound(self, pod: PodRecord, policy: str, plan: Plan) -> None:
        """The Binding is written."""
        before = self.of(pod.uid)
        if before is None or before.verdict != "held" or before.node != plan.node:
            before = Decision("held", "")  # chosen at bind, nothing was compared
        decision = Decision(
            "bound",
            self.now(),
            policy,
            plan.node,
            plan.allocation.containers,
            plan.cost,
            before.feasible,
            before.rejected,
            runner_up=before.runner_up,
            avoided=before.avoided,
            whole=tuple(sorted(plan.footprint.whole)),
        )
        self._remember(pod, decision, planned=plan.footprint)

    def not_bound(self, pod: PodRecord, node: str, message: str) -> None:
        """The pod could not be bound."""
        self._remember(pod, Decision("not bound", self.now(), node=node, message=message))

    def seen(self, pods: Iterable[PodRecord]) -> None:
        """Note which of the pods, as the watch shows them, got other GPUs than this process planned."""
        for pod in pods:
            history = self._known.get(pod.uid)
            planned = None if history is None else history.planned
            if planned is None or pod.footprint is None or planned == pod.footprint or not pod.node:
                continue
            message = f"the kubelet gave {_places(pod.footprint)} instead of {_places(planned)}"
            moved = Decision("moved", self.now(), pod.policy, pod.node, message=message)
            self._remember(pod, moved, planned=pod.footprint)

    def of(self, uid: str) -> Decision | None:
        """The latest decision on a pod."""
        history = self.history(uid)
        return history.decisions[-1] if history is not None else None

    def refusals(self, uids: Iterable[str]) -> Counter[Misfit]:
        """For how many of these pods a node was refused for each reason, at the latest try."""
        found: Counter[Misfit] = Counter()
        for uid in uids:
            decision = self.of(uid)
            if decision is not None:
                found.update(_BY_TEXT[text] for text in decision.rejected if decision.verdict == "rejected")
        return found

    def history(self, uid: str) -> History | None:
        """The decisions on a pod that are still known."""
        with self._lock:
            return self._known.get(uid)

    def find(self, namespace: str, name: str) -> History | None:
        """The pod of that name that was decided on last, whether or not it still exists."""
        with self._lock:
            known = list(self._known.values())
        return next((each for each in reversed(known) if each.name == name and each.namespace == namespace), None)

    def recent(self, limit: int) -> tuple[int, list[Decided]]:
        """How many decisions were reported so far, and the latest `limit` of them, newest first."""
        with self._lock:
            return self._reported, list(islice(reversed(self._recent), limit))

    def _remember(self, pod: PodRecord, decision: Decision, *, planned: Footprint | None = None) -> None:
        with self._lock:
            before = self._known.pop(pod.uid, None) or History(pod.namespace, pod.name, pod.uid)
            kept = list(before.decisions)
            if kept and kept[-1].verdict == "held":
                kept.pop()  # this decision replaces it
            same = _latest_same(kept, decision)
            if same is not None:
                kept.remove(same)
                decision = replace(decision, at=same.at, times=same.times + 1, last_at=decision.at)
            kept.append(decision)
            forgotten = max(0, len(kept) - MAX_OF_A_POD)
            self._known[pod.uid] = History(
                before.namespace,
                before.name,
                before.uid,
                tuple(kept[forgotten:]),
                before.forgotten + forgotten,
                planned or before.planned,
            )
            if len(self._known) > self._limit:
                self._known.popitem(last=False)
            if same is not None or decision.verdict == "held":
                return
            decided = Decided(pod.namespace, pod.name, pod.uid, decision)
            self._recent.append(decided)
            self._reported += 1
        self._report(decided)


def _latest_same(decisions: list[Decision], decision: Decision) -> Decision | None:
    """The decision that is made again, unless the pod was bound in between."""
    for known in reversed(decisions):
        if known.same_as(decision):
            return known
        if known.verdict not in {"rejected", "preempting"}:
            return None
    return None


def _texts(counts: Mapping[Misfit, int]) -> dict[str, int]:
    return {reason.text: count for reason, count in counts.items() if count}


def _places(footprint: Footprint) -> str:
    shares = [f"{units} units of {uuid}" for uuid, units in sorted(footprint.shares.items())]
    return ", ".join([*(f"all of {uuid}" for uuid in sorted(footprint.whole)), *shares])
