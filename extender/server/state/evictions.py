"""Remembers, within a bound, the victims of each preempting pod and the node to which kube-scheduler nominated it."""

from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.preempting.victims import Victims

MAX_REMEMBERED = 1_024

UNSEEN_S = 30.0
"""How long kube-scheduler has to delete the victims of an answer; one that is not terminating by then stays."""


@dataclass(frozen=True, slots=True)
class Nomination:
    """Where a pending pod is nominated, since when on the caller's clock, and whether pods were to leave for it."""

    node: str
    since_s: float
    had_victims: bool = False


class Evictions:
    """Answers to preempt and nominations, by preempting pod; the owner serializes all calls."""

    def __init__(self) -> None:
        self._answers: OrderedDict[str, tuple[float, Mapping[str, Victims]]] = OrderedDict()
        self._nominations: dict[str, Nomination] = {}
        self._waited: OrderedDict[str, Collection[str]] = OrderedDict()

    def __bool__(self) -> bool:
        """Whether any pod is nominated."""
        return bool(self._nominations)

    def remember(self, uid: str, answers: Mapping[str, Victims], now_s: float) -> None:
        """Remember what preempt has answered for the pod."""
        self._answers[uid] = now_s, answers
        self._answers.move_to_end(uid)
        while len(self._answers) > MAX_REMEMBERED or now_s - next(iter(self._answers.values()))[0] >= UNSEEN_S:
            self._answers.popitem(last=False)

    def forget(self, uid: str) -> None:
        """The pod has a node, or is gone."""
        self._answers.pop(uid, None)
        self._nominations.pop(uid, None)
        self._waited.pop(uid, None)

    def victims(self, uid: str, node: str, now_s: float) -> Collection[str]:
        """UIDs of the pods on `node` that kube-scheduler was lately told to evict for the pod."""
        at_s, answers = self._answers.get(uid, (0.0, {}))
        victims = answers.get(node)
        return () if victims is None or now_s - at_s >= UNSEEN_S else victims.uids

    def wait_over(self, uid: str, victims: Collection[str]) -> None:
        """kube-scheduler was kept waiting for these victims of the pod, for as long as makes sense."""
        self._waited[uid] = victims
        if len(self._waited) > MAX_REMEMBERED:
            self._waited.popitem(last=False)

    def has_waited(self, uid: str, victims: Collection[str]) -> bool:
        """Whether it was for these very ones: they are slow, and the watch is not behind."""
        return self._waited.get(uid) == victims

    def note(self, pod: PodRecord, now_s: float) -> None:
        """Take in where a pending pod is nominated, if it is."""
        known = self._nominations.get(pod.uid)
        if not pod.nominated_node:
            self._nominations.pop(pod.uid, None)
        elif known is None or known.node != pod.nominated_node:
            self._nominations[pod.uid] = Nomination(pod.nominated_node, now_s)

    def note_victims(self, uid: str) -> None:
        """Pods leave the node for the pod that is nominated there."""
        known = self._nominations.get(uid)
        if known is not None and not known.had_victims:
            self._nominations[uid] = replace(known, had_victims=True)

    def nomination(self, uid: str) -> Nomination | None:
        """Where the pod is nominated."""
        return self._nominations.get(uid)

    def nominated(self, node: str | None = None) -> Iterator[str]:
        """UIDs of the pods nominated to `node`, or to any."""
        return iter([uid for uid, each in self._nominations.items() if node is None or each.node == node])
