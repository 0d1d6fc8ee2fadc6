"""Keeps the pods that were refused and the nodes on which room has appeared since, and names the pods worth a retry.

The owner serializes all calls.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from extender.scheduling.ledger.ledger import Ledger
from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.waking import RefusedPod

MAX_ASKED = 64
"""Nodes that are remembered of a refused pod; one that was offered more is assumed to accept any."""

MAX_WAITING = 20_000
"""Refused pods that are remembered; beyond it the oldest is left to kube-scheduler's own retries."""


@dataclass(frozen=True, slots=True)
class Ripe:
    """Nodes that got room some time ago, when each was first seen, and the pods that were refused before."""

    nodes: Sequence[NodeInfo]
    first_seen: Mapping[str, int]
    pods: Sequence[RefusedPod]
    names: Sequence[str]


class Waiting:
    """The refused pods, oldest refusal first."""

    def __init__(self) -> None:
        self._pods: OrderedDict[str, RefusedPod] = OrderedDict()
        self._freed: dict[str, float] = {}
        self._woken: set[str] = set()

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
        if len(self._pods) > MAX_WAITING:
            self._pods.popitem(last=False)

    def remove(self, uid: str) -> None:
        """The pod has a place, or is gone."""
        self._pods.pop(uid, None)

    def note_freed(self, names: Iterable[str], now_s: float) -> None:
        """Room has appeared on these nodes."""
        self._freed.update(dict.fromkeys(names, now_s))

    def take_ripe(self, ledger: Ledger, older_s: float, now_s: float) -> Ripe | None:
        """The nodes that got room `older_s` ago or earlier, which are then forgotten; None when there are none."""
        ripe = {name: at_s for name, at_s in self._freed.items() if now_s - at_s >= older_s}
        if not ripe:
            return None
        for name in ripe:
            del self._freed[name]
        self._drop_finished(ledger)
        newest_s = max(ripe.values())
        pods = [pod for uid, pod in self._pods.items() if pod.waiting_since_s <= newest_s and uid not in self._woken]
        known = [name for name in ripe if name in ledger.nodes]
        first_seen = {name: ledger.first_seen[name] for name in known}
        return Ripe([ledger.nodes[name] for name in known], first_seen, pods, list(ripe))

    def woke(self, ripe: Ripe, pods: Iterable[RefusedPod], now_s: float) -> None:
        """Some pods were woken and there may be more: the nodes stay ripe for the others."""
        self._woken.update(pod.uid for pod in pods)
        for name in ripe.names:
            self._freed.setdefault(name, now_s)

    def woke_all(self) -> None:
        """Every pod that the nodes can help was woken."""
        self._woken.clear()

    def _drop_finished(self, ledger: Ledger) -> None:
        for uid in [uid for uid in self._pods if uid not in ledger.pending]:
            if uid in ledger.pods or ledger.is_gone(uid):
                del self._pods[uid]
