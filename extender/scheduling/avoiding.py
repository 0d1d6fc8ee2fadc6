"""Remembers on which nodes pods failed lately, so that other nodes are preferred; no node is ever excluded.

A node that fails every pod at once looks empty, and so the best, for ever. What counts is what a failure says of the
node: a pod that the kubelet did not start says it for all pods, one whose containers failed for those of its owner, and
an attempt of kube-scheduler that ended between filter and bind for that one pod.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from extender.scheduling.ledger.events import PodRecord

REMEMBERED_S = 300.0
"""How long a failure counts; a kubelet or a driver is mended in minutes or by people."""

AT_ONCE_S = 10.0
"""A pod that failed so soon after its Binding was seen never did its work."""

MAX_FAILURES = 4_096
MAX_YOUNG = 4_096


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
        self._failures: deque[NodeFailure] = deque(maxlen=MAX_FAILURES)
        self._young: OrderedDict[str, float] = OrderedDict()
        self.counts: Counter[Failed] = Counter()

    def seen(self, before: PodRecord | None, pod: PodRecord, now_s: float) -> NodeFailure | None:
        """Take in a newer record of a pod, which was `before` until now; the failure that it tells of, if any."""
        if not pod.node or pod.request is None:
            return None
        if before is not None and not before.node:
            self._young[pod.uid] = now_s
            if len(self._young) > MAX_YOUNG:
                self._young.popitem(last=False)
        if not pod.ended:
            return None
        bound_s = self._young.pop(pod.uid, None)
        # Whoever deletes a pod ends its containers, which then may count as failed.
        if not pod.failure or pod.terminating or bound_s is None or now_s - bound_s > AT_ONCE_S:
            return None
        how = Failed.ENDED if pod.ran else Failed.REFUSED
        if how is Failed.ENDED and not pod.owner:
            return None  # nobody makes another one
        return self._note(NodeFailure(pod.node, how, pod.owner if pod.ran else "", pod.failure, now_s))

    def not_bound(self, uid: str, node: str, now_s: float) -> NodeFailure:
        """Kube-scheduler's attempt to place the pod on `node` ended after filter and before bind."""
        return self._note(NodeFailure(node, Failed.ATTEMPT, uid, "", now_s))

    def strikes(self, pod: PodRecord, now_s: float) -> Mapping[str, int]:
        """How many failures count against each node for this pod; nodes without one are left out."""
        return Counter(each.node for each in self._counted(pod, now_s)) if self._failures else {}

    def nodes(self, now_s: float, pod: PodRecord | None = None) -> dict[str, list[NodeFailure]]:
        """What is remembered of each node, oldest first; with `pod`, only what counts for it."""
        found: dict[str, list[NodeFailure]] = {}
        for each in self._counted(pod, now_s):
            found.setdefault(each.node, []).append(each)
        return found

    def _counted(self, pod: PodRecord | None, now_s: float) -> Iterable[NodeFailure]:
        self._forget(now_s)
        if pod is None:
            return self._failures
        scopes = ("", pod.uid, pod.owner or pod.uid)
        return (each for each in self._failures if each.scope in scopes)

    def _note(self, failure: NodeFailure) -> NodeFailure:
        self._failures.append(failure)
        self.counts[failure.how] += 1
        return failure

    def _forget(self, now_s: float) -> None:
        while self._failures and now_s - self._failures[0].at_s >= REMEMBERED_S:
            self._failures.popleft()


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


def levels(names: Collection[str], strikes: Mapping[str, int]) -> list[Collection[str]]:
    """The names by how many failures count against them, those without any first; no level is empty."""
    by_strikes: dict[int, list[str]] = {}
    for name in names:
        by_strikes.setdefault(strikes.get(name, 0), []).append(name)
    return [by_strikes[count] for count in sorted(by_strikes)]
