"""Remembers the latest decision on each pod, bounded, so that `explain` can say where, why and when."""

import logging
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from extender.contract.units import GpuUuid, Units
from extender.scheduling.binding import Plan
from extender.scheduling.events import PodRecord
from extender.scheduling.reasons import Misfit

_LOG = logging.getLogger(__name__)
MAX_REMEMBERED = 20_000


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided on one pod, last.

    Args:
        verdict: `held` (passed filter), `rejected`, `bound` or `not bound`.
        at: RFC 3339.
        policy: policy that chose.
        node: node chosen, empty when none.
        gpus: units per container and GPU, as in the allocation annotation.
        cost: the policy's cost of the node chosen; smaller is better.
        feasible: nodes of the cluster on which the pod fitted (kube-scheduler may have asked about fewer).
        rejected: nodes on which it did not, by reason: of the cluster, or of those asked about when none fitted.
        message: what went wrong with a bind.
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


def timestamp(now: datetime) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Decisions:
    """The latest decision per pod UID, for the `limit` pods that were decided on most recently."""

    def __init__(self, now: Callable[[], datetime], limit: int = MAX_REMEMBERED) -> None:
        self._now = now
        self._limit = limit
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Decision] = OrderedDict()

    def now(self) -> str:
        """The time, as decisions carry it."""
        return timestamp(self._now())

    def chose(self, pod: PodRecord, policy: str, plan: Plan, *, feasible: int, refused: Mapping[Misfit, int]) -> None:
        """The pod passed filter and room for `plan` is held."""
        decision = Decision(
            "held", self.now(), policy, plan.node, plan.allocation.containers, plan.cost, feasible, _texts(refused)
        )
        self._remember(pod, decision)
        _LOG.debug("filter %s/%s: room held on %s", pod.namespace, pod.name, plan.node)

    def rejected(self, pod: PodRecord, rejected: Mapping[str, Misfit]) -> None:
        """The pod fits nowhere."""
        counts = _texts(Counter(rejected.values()))
        self._remember(pod, Decision("rejected", self.now(), rejected=counts))
        _LOG.info("filter %s/%s: fits on no node: %s", pod.namespace, pod.name, counts)

    def bound(self, pod: PodRecord, policy: str, plan: Plan) -> None:
        """The Binding is written."""
        before = self.of(pod.uid)
        self._remember(
            pod,
            Decision(
                "bound",
                self.now(),
                policy,
                plan.node,
                plan.allocation.containers,
                plan.cost,
                before.feasible if before else 0,
                before.rejected if before else {},
            ),
        )
        _LOG.info("bind %s/%s: on %s, gpus %s", pod.namespace, pod.name, plan.node, plan.allocation.containers)

    def not_bound(self, uid: str, pod_name: str, node: str, message: str) -> None:
        """The pod could not be bound."""
        with self._lock:
            self._put(uid, Decision("not bound", self.now(), node=node, message=message))
        _LOG.warning("bind %s to %s: %s", pod_name, node, message)

    def of(self, uid: str) -> Decision | None:
        """The latest decision on a pod."""
        with self._lock:
            return self._known.get(uid)

    def _remember(self, pod: PodRecord, decision: Decision) -> None:
        with self._lock:
            self._put(pod.uid, decision)

    def _put(self, uid: str, decision: Decision) -> None:
        self._known[uid] = decision
        self._known.move_to_end(uid)
        if len(self._known) > self._limit:
            self._known.popitem(last=False)


def _texts(counts: Mapping[Misfit, int]) -> dict[str, int]:
    return {reason.text: count for reason, count in counts.items() if count}
