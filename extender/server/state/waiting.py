"""Keeps the pods that were refused and the nodes on which room has appeared since, and names the pods worth a retry.

The owner serializes all calls.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from extender.scheduling.ledger.ledger import Ledger
from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.waking import RefusedPod

MAX_ASKED = 64
"""Nodes that are remembered of a refused pod; one that was offered more is assumed to accept any."""

MAX_WAITING = 20_000
"""Refused pods that are remembered; beyond it the oldest is left to kube-scheduler's own retries."""

UNUSED_S = 2.5
"""Room that is free so long after a pod was woken for it is offered to the next: kube-scheduler retries within 0.1 s,
and a pod that fails its own filters by now never comes."""


@dataclass(frozen=True, slots=True)
class _Room:
    """When it appeared, and when it is to be offered (again)."""

    since_s: float
    offer_s: float


@dataclass(frozen=True, slots=True)
class Ripe:
    """Nodes that got room some time ago, when each was first seen, and the pods that were refused before.

    Those that were woken since are not among them: each pod is woken once for one room.
    """

    nodes: Sequence[NodeInfo]
    first_seen: Mapping[str, int]
    pods: Sequence[RefusedPod]
    rooms: Mapping[str, _Room]


class Waiting:
    """The refused pods, oldest refusal first."""

    def __init__(self) -> None:
        self._pods: OrderedDict[str, RefusedPod] = OrderedDict()
        self._freed: dict[str, _Room] = {}
        self._woken_s: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._pods)

    def __contains__(self, uid: str) -> bool:
        return uid in self._pods

    def uids(self) -> list[str]:
        """UIDs of the pods."""
        return list(self._pods)

    def add(self, pod: RefusedPod) -> None:
        """The pod was refused, now or again."""
        self._pods[pod.uid] = pod
        self._pods.move_to_end(pod.uid)
        self._woken_s.pop(pod.uid, None)
        if len(self._pods) > MAX_WAITING:
            self.remove(next(iter(self._pods)))

    def remove(self, uid: str) -> None:
        """The pod has a place, or is gone."""
        self._pods.pop(uid, None)
        self._woken_s.pop(uid, None)

    def note_freed(self, names: Iterable[str], now_s: float) -> None:
        """Room has appeared on these nodes."""
        self._freed.update(dict.fromkeys(names, _Room(now_s, now_s)))

    def take_ripe(self, ledger: Ledger, older_s: float, now_s: float) -> Ripe | None:
        """The nodes that got room `older_s` ago or earlier, which are then forgotten; None when there are none."""
        ripe = {
            name: room
            for name, room in self._freed.items()
            if now_s - room.since_s >= older_s and now_s >= room.offer_s
        }
        if not ripe:
            return None
        for name in ripe:
            del self._freed[name]
        self._drop_finished(ledger)
        newest_s = max(room.since_s for room in ripe.values())
        pods = [
            pod
            for uid, pod in self._pods.items()
            if pod.waiting_since_s <= newest_s and self._woken_s.get(uid, -inf) < newest_s
        ]
        known = [name for name in ripe if name in ledger.nodes]
        first_seen = {name: ledger.first_seen[name] for name in known}
        return Ripe([ledger.nodes[name] for name in known], first_seen, pods, ripe)

    def offer_again(self, ripe: Ripe, offer_s: float) -> None:
        """There may be more pods that the nodes can help: they are ripe again from then on."""
        for name, room in ripe.rooms.items():
            self._freed.setdefault(name, _Room(room.since_s, offer_s))

    def woke(self, pods: Iterable[RefusedPod], now_s: float) -> None:
        """These pods are woken."""
        self._woken_s.update((pod.uid, now_s) for pod in pods if pod.uid in self._pods)

    def _drop_finished(self, ledger: Ledger) -> None:
        for uid in [uid for uid in self._pods if uid not in ledger.pending]:
            if uid in ledger.pods or ledger.is_gone(uid):
                self.remove(uid)
