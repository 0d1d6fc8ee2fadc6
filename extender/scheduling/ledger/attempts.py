"""Decides from what is seen of a pod how long the room held for it is kept: as long as kube-scheduler's attempt lasts.

An attempt begins with the filter call. It ends with the bind call or with a failure, at once or after a wait: Permit
plugins may wait for 15 minutes, and PreBind by default waits for volumes for 10. What the pod shows meanwhile is from
k8s.io/kubernetes/pkg/scheduler/schedule_one.go: before such a wait, bindingCycle writes the node into
status.nominatedNodeName (from Kubernetes 1.35 on). On a failure, handleSchedulingFailure clears it and sets the
condition PodScheduled to False with the failure's text, in one patch, which is not sent when nothing in it is new.
"""

from collections import OrderedDict
from enum import Enum, auto
from typing import NamedTuple

from extender.scheduling.fitting.reasons import Misfit
from extender.scheduling.ledger.events import PodRecord

LONGEST_S = 26 * 60.0
"""No hold lasts longer: Permit's longest wait, PreBind's default one, and some slack. A scheduler may have died."""

SHORTEST_S = 1.0
"""kube-scheduler binds within milliseconds when it has nothing to wait for."""

MAX_REMEMBERED = 20_000
"""Pods whose passes are counted; beyond it the one that passed longest ago starts anew."""

ANSWERED = "gpupack: "
"""What every error begins with that the extender answers to a call; kube-scheduler quotes it."""

_OURS = (ANSWERED, *(reason.text for reason in Misfit))


class Sign(Enum):
    """What a change of a pod says of kube-scheduler's attempt to place it on a node."""

    NONE = auto()
    WAITS = auto()
    """It waits in Permit or PreBind to bind the pod to that node."""

    ELSEWHERE = auto()
    """The same, with another node: filter had named several."""

    ENDED = auto()
    """It failed."""


def sign_of(node: str, before: PodRecord, now: PodRecord, *, waits: bool) -> Sign:
    """What the change from `before` to `now` says of the attempt in which room is held on `node`.

    `waits`: the pod was nominated there in this attempt, or before it and still is.

    A refusal in the extender's own words proves nothing else. The call that got that answer has ended the hold before,
    so it is about an earlier try, and the watch is late.
    """
    if now.request is None:
        return Sign.ENDED  # edited into something that can never be bound
    moved = now.nominated_node != before.nominated_node
    if moved and now.nominated_node == node:
        return Sign.WAITS
    refused = now.refusal != before.refusal and bool(now.refusal)
    if moved and now.nominated_node and not refused:
        return Sign.ELSEWHERE
    left = moved and before.nominated_node == node
    if any(text in now.refusal for text in _OURS):
        return Sign.ENDED if left and waits else Sign.NONE
    return Sign.ENDED if refused or left else Sign.NONE


def bound_s(hold_s: float, passes: int) -> float:
    """How long room is held after the pod passed filter, where nothing tells of the attempt.

    `hold_s` the first time, and a quarter of the time before each further time, so that a pod that passes again and
    again and never comes to bind does not keep others from the room.
    """
    return min(hold_s, max(SHORTEST_S, hold_s / 4.0 ** min(passes - 1, 10)))


class Passes:
    """Counts, within a bound, how often each pod has passed filter without coming to bind, and remembers where.

    A pass that comes later than `apart_s` after the one before counts as the first.
    """

    def __init__(self, apart_s: float) -> None:
        self._apart_s = apart_s
        self._known: OrderedDict[str, _Pass] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def count(self, uid: str, node: str, now_s: float) -> int:
        """The pod passes now, with `node` as the best: how often it has, this time included."""
        before = self._known.pop(uid, None)
        times = before.times + 1 if before is not None and now_s - before.at_s <= self._apart_s else 1
        self._known[uid] = _Pass(times, now_s, node)
        if len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)
        return times

    def failed_on(self, uid: str) -> str:
        """The pod is asked about again: on which node its latest attempt has failed; said once, empty when on none."""
        known = self._known.get(uid)
        if known is None:
            return ""
        self._known[uid] = _Pass(known.times, known.at_s, "")
        return known.node

    def moved(self, uid: str, node: str) -> None:
        """kube-scheduler took another of the nodes that filter named."""
        known = self._known.get(uid)
        if known is not None:
            self._known[uid] = _Pass(known.times, known.at_s, node)

    def forget(self, uid: str) -> None:
        """The pod has come to bind, or is gone."""
        self._known.pop(uid, None)


class _Pass(NamedTuple):
    times: int
    at_s: float
    node: str
