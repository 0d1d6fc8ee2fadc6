"""Remembers on which nodes pods failed lately, so that other nodes are preferred; no node is ever excluded.

A node that fails every pod at once looks empty, and so the best, for ever. What counts is what a failure says of the
node: a pod that the kubelet did not start says it for all pods, one whose containers failed for those of its owner, and
an attempt of kube-scheduler that ended between filter and bind for that one pod.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from extender.scheduling.ledger.events import PodRecord

REMEMBERED_S = 300.0
"""How long a failure counts; a kubelet or a driver is mended in minutes or by people."""

AT_ONCE_S = 10.0
"""A pod that failed so soon after its Binding was seen never did its work."""

MAX_FAILURES = 4_096
"""Failures that count for all pods; the oldest are forgotten beyond it."""

MAX_SCOPES = 4_096
"""Owners and pods of which failures are remembered: those that failed last."""

MAX_OF_A_SCOPE = 64
MAX_YOUNG = 4_096

_OWN_DOING = frozenset({"DeadlineExceeded", "Error"})
"""Reasons that say nothing of the node, even if no container was started: a deadline of the pod's own, or none."""

_REFUSALS = frozenset({"UnexpectedAdmissionError", "TopologyAffinityError", "NodeAffinity", "NodePorts"})


Value = TypeVar("Value")


class Failed(Enum):
    """How a pod failed on a node; the value is the metric's label."""

    REFUSED = "refused"
    ENDED = "ended"
    ATTEMPT = "attempt"


@dataclass(frozen=True, slots=True)
class NodeFailure:
    """One failure; `scope` is the UID of the owner or pod that it counts for, empty for all pods."""

    node: str
    how: Failed
    scope: str
    reason: str
    at_s: float


class Avoiding:
    """The failures of the last minutes; `counts` are all since the start. The owner serializes all calls."""

    def __init__(self) -> None:
        self._of_all: deque[NodeFailure] = deque(maxlen=MAX_FAILURES)
        self._scoped: OrderedDict[str, deque[NodeFailure]] = OrderedDict()
        self._young: OrderedDict[str, float] = OrderedDict()
        self.counts: Counter[Failed] = Counter()

    def seen(self, before: PodRecord | None, pod: PodRecord, now_s: float) -> NodeFailure | None:
        """Take in a newer record of a pod, which was `before` until now; the failure that it tells of, if any."""
        if not pod.node or pod.request is None:
            return None
        bound_now = before is not None and not before.node
        if bound_now and not pod.ended:
            self._young[pod.uid] = now_s
            if len(self._young) > MAX_YOUNG:
                self._young.popitem(last=False)
        if not pod.ended:
            return None
        bound_s = self._young.pop(pod.uid, None)
        # Whoever deletes a pod ends its containers, which then may count as failed.
        if not pod.failure or pod.terminating:
            return None
        young = bound_s is not None and now_s - bound_s <= AT_ONCE_S
        # How long a pod ran that is seen bound and ended at once is not known, but a kubelet refuses a pod at once.
        return self._failed(pod, now_s) if young or (bound_now and _is_refusal(pod)) else None

    def _failed(self, pod: PodRecord, now_s: float) -> NodeFailure | None:
        if not pod.ran and pod.failure not in _OWN_DOING:
            return self._note(NodeFailure(pod.node, Failed.REFUSED, "", pod.failure, now_s))
        if not pod.owner:
            return None  # nobody makes another one
        return self._note(NodeFailure(pod.node, Failed.ENDED, pod.owner, pod.failure, now_s))

    def not_bound(self, uid: str, node: str, now_s: float) -> NodeFailure:
        """Kube-scheduler's attempt to place the pod on `node` ended after filter and before bind."""
        return self._note(NodeFailure(node, Failed.ATTEMPT, uid, "", now_s))

    def strikes(self, pod: PodRecord, now_s: float) -> Mapping[str, int]:
        """How many failures count against each node for this pod; nodes without one are left out."""
        if not self._of_all and not self._scoped:
            return {}
        return Counter(each.node for each in self._counted(pod, now_s))

    def nodes(self, now_s: float, pod: PodRecord | None = None) -> dict[str, list[NodeFailure]]:
        """What is remembered of each node, oldest first; with `pod`, only what counts for it."""
        found: dict[str, list[NodeFailure]] = {}
        for each in sorted(self._counted(pod, now_s), key=lambda each: each.at_s):
            found.setdefault(each.node, []).append(each)
        return found

    def _counted(self, pod: PodRecord | None, now_s: float) -> Iterable[NodeFailure]:
        scopes = list(self._scoped) if pod is None else [uid for uid in (pod.uid, pod.owner) if uid in self._scoped]
        yield from _recent(self._of_all, now_s)
        for scope in scopes:
            failures = _recent(self._scoped[scope], now_s)
            if failures:
                yield from failures
            else:
                del self._scoped[scope]

    def _note(self, failure: NodeFailure) -> NodeFailure:
        self.counts[failure.how] += 1
        if not failure.scope:
            self._of_all.append(failure)
            return failure
        self._scoped.setdefault(failure.scope, deque(maxlen=MAX_OF_A_SCOPE)).append(failure)
        self._scoped.move_to_end(failure.scope)
        if len(self._scoped) > MAX_SCOPES:
            self._scoped.popitem(last=False)
        return failure


def _is_refusal(pod: PodRecord) -> bool:
    """Whether the kubelet did not admit the pod (pkg/kubelet/lifecycle: it sets these reasons)."""
    return not pod.ran and (pod.failure in _REFUSALS or pod.failure.startswith("OutOf"))


def _recent(failures: deque[NodeFailure], now_s: float) -> deque[NodeFailure]:
    while failures and now_s - failures[0].at_s >= REMEMBERED_S:
        failures.popleft()
    return failures


def describe(node: str, failures: Sequence[NodeFailure]) -> str:
    """Why the node comes last, for people."""
    reasons = sorted({failure.reason for failure in failures if failure.reason})
    attempts = sum(failure.how is Failed.ATTEMPT for failure in failures)
    pods = len(failures) - attempts
    parts = []
    if pods:
        parts.append(f"{pods} pod{'' if pods == 1 else 's'} failed there right after binding ({', '.join(reasons)})")
    if attempts:
        parts.append(f"{attempts} attempt{'' if attempts == 1 else 's'} to place this pod there ended before binding")
    return f"{node} comes last: in the last {REMEMBERED_S / 60:.0f} minutes {' and '.join(parts)}"


def least_struck(by_node: Mapping[str, Value], strikes: Mapping[str, int]) -> Mapping[str, Value]:
    """The entries of the nodes against which the fewest failures count."""
    if strikes.keys().isdisjoint(by_node):
        return by_node
    wanted, *_others = levels(by_node, strikes)
    return {name: by_node[name] for name in wanted}


def levels(names: Collection[str], strikes: Mapping[str, int]) -> list[Collection[str]]:
    """The names by how many failures count against them, those without any first; no level is empty."""
    by_strikes: dict[int, list[str]] = {}
    for name in names:
        by_strikes.setdefault(strikes.get(name, 0), []).append(name)
    return [by_strikes[count] for count in sorted(by_strikes)]
