"""Keeps the NodeInfo of every node up to date from cluster events, assumptions and holds.

Pods are keyed by UID. A UID is charged on one node at most: where it is bound, else where it is assumed to be bound
soon, else where filter holds room for it. A node's usage is recomputed from its holders at every change of it.
"""

from collections import ChainMap, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from msgspec.structs import replace as replaced

from extender.contract.units import UnitMib
from extender.scheduling.ledger.binding import Plan
from extender.scheduling.ledger.changes import charged_alike, differ_in_version_only, has_more_room
from extender.scheduling.ledger.events import (
    NEWEST,
    ClusterEvent,
    NodeChanged,
    NodeDeleted,
    NodesListed,
    PodChanged,
    PodDeleted,
    PodRecord,
    PodsListed,
)
from extender.scheduling.ledger.reservation import Reservation
from extender.scheduling.nodes.node import Hold, Holder, NodeInfo, NodeRecord, node_info
from extender.scheduling.nodes.snapshot import Snapshot

CHANGES = 65_536
"""Changes of nodes that are remembered for followers; a follower that is further behind looks at all nodes."""

TOMBSTONES = 16_384
"""Deletions that are remembered with their version, so that what is older cannot bring a pod or node back."""


class Ledger:
    """The one mutable value of the scheduling core; its owner serializes all calls.

    `pods` are all pods that are bound or ask for GPUs, `pending` those of them without a node. `first_seen` is the
    generation in which each node came.
    `apply`, `assume`, `forget`, `hold`, `claim`, `release` and `expire` return the names of the nodes that have more
    room now.
    """

    def __init__(self, unit_mib: UnitMib) -> None:
        self.unit_mib = unit_mib
        self.generation = 0
        self.pods: dict[str, PodRecord] = {}
        self.pending: dict[str, PodRecord] = {}
        self._records: dict[str, NodeRecord] = {}
        self._infos: dict[str, NodeInfo] = {}
        self._holders: dict[str, dict[str, Holder]] = {}
        self._charged_on: dict[str, str] = {}
        self._reserved: dict[str, Reservation] = {}
        self.first_seen: dict[str, int] = {}
        self._changes: list[str] = []
        self._changes_dropped = 0
        self._gone: OrderedDict[str, int] = OrderedDict()
        self._gone_nodes: OrderedDict[str, int] = OrderedDict()

    def snapshot(self) -> Snapshot:
        """The cluster now, as a live view; copy it to keep it."""
        return Snapshot(self._infos, self.generation)

    @property
    def nodes(self) -> Mapping[str, NodeInfo]:
        """All nodes as they are now."""
        return self._infos

    def changed_since(self, position: int) -> tuple[Iterable[str] | None, int]:
        """Names of nodes that changed or were deleted after `position`, and the position now.

        None in place of names when that is too long ago to be remembered (or -1, never): any node may have changed.
        """
        now = self._changes_dropped + len(self._changes)
        if position < self._changes_dropped:
            return None, now
        return dict.fromkeys(self._changes[position - self._changes_dropped :]), now

    def snapshot_without(self, uid: str) -> Snapshot:
        """The cluster as it would be if this pod held nothing, as a live view of all other nodes."""
        name = self._charged_on.get(uid)
        record = self._records.get(name) if name is not None else None
        if record is None:
            return self.snapshot()
        others = [holder for holder in self._holders[record.name].values() if holder.uid != uid]
        before = self._infos.get(record.name)
        emptier = node_info(record, others, unit_mib=self.unit_mib, generation=self.generation, before=before)
        return Snapshot(ChainMap({record.name: emptier}, self._infos), self.generation)

    def apply(self, event: ClusterEvent) -> tuple[str, ...]:
        """Take in what happened; a duplicated or stale event changes nothing."""
        match event:
            case PodChanged(pod):
                return self._rebuild(self._pod_changed(pod))
            case PodDeleted(uid, resource_version):
                return self._rebuild(self._pod_deleted(uid, resource_version))
            case NodeChanged(node):
                return self._rebuild(self._node_changed(node))
            case NodeDeleted(name, resource_version):
                return self._rebuild(self._node_deleted(name, resource_version))
            case PodsListed(pods, resource_version, rewound):
                return self._rebuild(self._pods_listed(pods, resource_version, rewound=rewound))
            case NodesListed(nodes, resource_version, rewound):
                return self._rebuild(self._nodes_listed(nodes, resource_version, rewound=rewound))

    def assume(
        self, node: str, holder: Holder, resource_version: int, *, since_s: float = 0.0, plan: Plan | None = None
    ) -> tuple[str, ...]:
        """Charge a pod whose Binding is on its way; kept until an event shows it bound or gone, or `forget`."""
        assumed = _held(holder, Hold.ASSUMED)
        return self._reserve(Reservation(node, assumed, resource_version, since_s=since_s, plan=plan))

    def hold(
        self,
        node: str,
        holder: Holder,
        resource_version: int,
        expires_s: float,
        *,
        since_s: float = 0.0,
        plan: Plan | None = None,
        repeated: bool = False,
        waits: bool = False,
    ) -> tuple[str, ...]:
        """Charge a pod that just passed filter, until bind, another filter call, deletion or `expires_s`.

        Does nothing while the pod is assumed to be bound: that Binding may have been written.
        """
        before = self._reserved.get(holder.uid)
        if before is not None and before.assumed:
            return ()
        held = _held(holder, Hold.HELD)
        return self._reserve(Reservation(node, held, resource_version, expires_s, since_s, plan, repeated, waits))

    def prolong(self, uid: str, expires_s: float, *, waits: bool) -> None:
        """Keep the pod's hold until then at least; an assumption needs no such thing."""
        held = self._reserved.get(uid)
        if held is not None and held.expires_s is not None:
            self._reserved[uid] = replaced(held, expires_s=max(held.expires_s, expires_s), waits=held.waits or waits)

    def claim(
        self,
        node: str,
        holder: Holder,
        resource_version: int,
        expires_s: float,
        *,
        since_s: float = 0.0,
        plan: Plan | None = None,
    ) -> tuple[str, ...]:
        """Keep what evictions empty for a pod, until it is held or assumed, bound or gone, or `expires_s`.

        It may overlap with what the evicted pods still hold. Does nothing while the pod is held or assumed.
        """
        before = self._reserved.get(holder.uid)
        if before is not None and not before.claimed:
            return ()
        claimed = _held(holder, Hold.CLAIMED)
        return self._reserve(Reservation(node, claimed, resource_version, expires_s, since_s, plan))

    def forget(self, uid: str) -> tuple[str, ...]:
        """Drop an assumption, hold or claim whose pod is not bound; does nothing otherwise."""
        return self._rebuild(self._discharge(uid)) if self._reserved.pop(uid, None) else ()

    def release(self, uid: str) -> tuple[str, ...]:
        """Drop a hold or a claim, never an assumption."""
        reservation = self._reserved.get(uid)
        return self.forget(uid) if reservation is not None and not reservation.assumed else ()

    def expire(self, now_s: float) -> tuple[str, ...]:
        """Drop the holds and claims that end at `now_s` or before."""
        ended = [uid for uid, held in self._reserved.items() if held.expires_s is not None and held.expires_s <= now_s]
        changed: set[str] = set()
        for uid in ended:
            del self._reserved[uid]
            changed |= self._discharge(uid)
        return self._rebuild(changed)

    def reservation(self, uid: str) -> Reservation | None:
        """The assumption, hold or claim of a pod."""
        return self._reserved.get(uid)

    def reservations(self) -> Iterable[tuple[str, Reservation]]:
        """Every assumption, hold and claim with its pod's UID."""
        return self._reserved.items()

    def is_gone(self, uid: str) -> bool:
        """Whether the pod was seen deleted."""
        return uid in self._gone

    def _reserve(self, reservation: Reservation) -> tuple[str, ...]:
        uid = reservation.holder.uid
        pod = self.pods.get(uid)
        if uid in self._gone or (pod is not None and (pod.node or pod.ended)):
            return ()
        self._reserved[uid] = reservation
        return self._rebuild(self._charge(reservation.node, reservation.holder))

    def _pod_changed(self, pod: PodRecord, listed_at: int | None = None) -> set[str]:
        """`listed_at` is the version of the list that shows the pod: what was seen up to there, it knows better."""
        known = self.pods.get(pod.uid)
        newest = known.resource_version if known is not None else self._gone.get(pod.uid, -1)
        if known == pod or newest >= (pod.resource_version if listed_at is None else listed_at + 1):
            return set()
        self._gone.pop(pod.uid, None)
        was_bound = known is not None and bool(known.node)
        if not pod.node and pod.request is None and not pod.request_error:
            # Pending and not ours: nothing of it is ever asked for.
            return self._unbound(pod.uid) if was_bound else set()
        self.pods[pod.uid] = pod
        if known is not None and was_bound and charged_alike(known, pod):
            return set()
        self.pending.pop(pod.uid, None)
        if pod.ended:
            self._reserved.pop(pod.uid, None)
            return self._discharge(pod.uid)
        if not pod.node:
            self.pending[pod.uid] = pod
            return self._discharge(pod.uid) if was_bound else set()
        self._reserved.pop(pod.uid, None)
        return self._charge(pod.node, _holder_of(pod))

    def _unbound(self, uid: str) -> set[str]:
        """A pod without a request that was bound in a history that is no more."""
        self.pods.pop(uid, None)
        return self._discharge(uid)

    def _pod_deleted(self, uid: str, resource_version: int) -> set[str]:
        known = self.pods.get(uid)
        if known is not None and known.resource_version > resource_version:
            return set()
        return self._bury(uid, resource_version)

    def _bury(self, uid: str, resource_version: int) -> set[str]:
        _remember_deleted(self._gone, uid, resource_version)
        self.pods.pop(uid, None)
        self.pending.pop(uid, None)
        self._reserved.pop(uid, None)
        return self._discharge(uid)

    def _pods_listed(self, pods: Iterable[PodRecord], resource_version: int, *, rewound: bool) -> set[str]:
        listed = {pod.uid: pod for pod in pods}
        changed = self._forget_history() if rewound else set[str]()
        knows_up_to = NEWEST - 1 if rewound else resource_version
        known = {uid: pod.resource_version for uid, pod in self.pods.items()}
        for uid, reservation in self._reserved.items():
            known[uid] = max(known.get(uid, 0), reservation.resource_version)
        for uid, seen in known.items():
            # A pod newer than the list is not in it yet; the watch that follows tells more of it.
            if uid not in listed and seen <= knows_up_to:
                changed |= self._bury(uid, resource_version)
        for pod in listed.values():
            changed |= self._pod_changed(pod, knows_up_to)
        return changed

    def _forget_history(self) -> set[str]:
        """Deletions may not have happened, and holds are for calls of another time; assumptions will be settled."""
        self._gone.clear()
        changed: set[str] = set()
        for uid in [uid for uid, kept in self._reserved.items() if not kept.assumed]:
            del self._reserved[uid]
            changed |= self._discharge(uid)
        return changed

    def _node_changed(self, node: NodeRecord, listed_at: int | None = None) -> set[str]:
        """As `_pod_changed`."""
        known = self._records.get(node.name)
        newest = known.resource_version if known is not None else self._gone_nodes.get(node.name, -1)
        if known == node or newest >= (node.resource_version if listed_at is None else listed_at + 1):
            return set()
        self._gone_nodes.pop(node.name, None)
        if known is not None and differ_in_version_only(known, node):
            # A heartbeat: nothing that counts here has changed.
            self._records[node.name] = replace(known, resource_version=node.resource_version)
            return set()
        self._records[node.name] = node
        return {node.name}

    def _node_deleted(self, name: str, resource_version: int) -> set[str]:
        known = self._records.get(name)
        if known is not None and known.resource_version > resource_version:
            return set()
        return self._bury_node(name, resource_version)

    def _bury_node(self, name: str, resource_version: int) -> set[str]:
        _remember_deleted(self._gone_nodes, name, resource_version)
        return {name} if self._records.pop(name, None) is not None else set()

    def _nodes_listed(self, nodes: Iterable[NodeRecord], resource_version: int, *, rewound: bool) -> set[str]:
        listed = {node.name: node for node in nodes}
        if rewound:
            self._gone_nodes.clear()
        knows_up_to = NEWEST - 1 if rewound else resource_version
        changed: set[str] = set()
        for name, known in list(self._records.items()):
            if name not in listed and known.resource_version <= knows_up_to:
                changed |= self._bury_node(name, resource_version)
        for node in listed.values():
            changed |= self._node_changed(node, knows_up_to)
        return changed

    def _charge(self, node: str, holder: Holder) -> set[str]:
        before = self._holders.get(node, {}).get(holder.uid)
        if before == holder or (before is not None and self._relabel(node, before, holder)):
            return set()
        changed = self._discharge(holder.uid)
        self._holders.setdefault(node, {})[holder.uid] = holder
        self._charged_on[holder.uid] = node
        return changed | {node}

    def _relabel(self, node: str, before: Holder, holder: Holder) -> bool:
        """Take over a holder that differs only in how firmly it holds the same GPUs, without recomputing them.

        False when more than that differs.
        """
        info = self._infos.get(node)
        if info is None or _held(before, holder.hold) != holder or Hold.CLAIMED in {before.hold, holder.hold}:
            return False
        at = next((at for at, one in enumerate(info.holders) if one is before), None)
        if at is None:
            return False  # charged otherwise than it says
        self._holders[node][holder.uid] = holder
        self.generation += 1
        self._remember({node})
        holders = (*info.holders[:at], holder, *info.holders[at + 1 :])
        self._infos[node] = info.held_by(holders, self.generation)
        return True

    def _discharge(self, uid: str) -> set[str]:
        node = self._charged_on.pop(uid, None)
        if node is None:
            return set()
        holders = self._holders[node]
        del holders[uid]
        if not holders:
            del self._holders[node]
        return {node}

    def _remember(self, names: set[str]) -> None:
        self._changes.extend(names)
        if len(self._changes) > CHANGES:
            dropped = len(self._changes) - CHANGES // 2
            del self._changes[:dropped]
            self._changes_dropped += dropped

    def _rebuild(self, names: set[str]) -> tuple[str, ...]:
        freed: list[str] = []
        if names:
            self.generation += 1
            self._remember(names)
        for name in sorted(names):
            record = self._records.get(name)
            before = self._infos.get(name)
            if record is None:
                self._infos.pop(name, None)
                self.first_seen.pop(name, None)
                continue
            self.first_seen.setdefault(name, self.generation)
            holders = self._holders.get(name, {}).values()
            after = node_info(record, holders, unit_mib=self.unit_mib, generation=self.generation, before=before)
            self._infos[name] = after
            if has_more_room(before, after):
                freed.append(name)
        return tuple(freed)


def _remember_deleted(gone: OrderedDict[str, int], key: str, resource_version: int) -> None:
    gone[key] = max(resource_version, gone.get(key, -1))
    gone.move_to_end(key)
    if len(gone) > TOMBSTONES:
        gone.popitem(last=False)


def _holder_of(pod: PodRecord) -> Holder:
    return Holder(pod.uid, pod.namespace, pod.name, pod.request, pod.footprint, pod.cpu_milli, pod.memory_bytes)


def _held(of: Holder, hold: Hold) -> Holder:
    if of.hold is hold:
        return of
    return Holder(of.uid, of.namespace, of.name, of.request, of.footprint, of.cpu_milli, of.memory_bytes, hold)
