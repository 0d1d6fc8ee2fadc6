"""The cluster as its API server sees it, and what a ledger that has seen a part of its history must say: from scratch.

`ApiServer` keeps every object at every resource version, so that the history can be told by watch events, by lists of
any version, late and twice. `expected` computes each node's account from nothing but the objects seen and the rooms
reserved; it shares no code with the ledger or with `node_info`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from msgspec import structs

from extender.scheduling.ledger.events import (
    ClusterEvent,
    NodeChanged,
    NodeDeleted,
    NodesListed,
    PodChanged,
    PodDeleted,
    PodRecord,
    PodsListed,
)
from extender.scheduling.nodes.node import NodeInfo, NodeRecord
from extender.scheduling.nodes.snapshot import Snapshot
from extender.scheduling.pods.footprint import Footprint
from extender.scheduling.pods.request import PodRequest
from tests.extender.scheduling.builders import UNIT_MIB


@dataclass(frozen=True)
class View:
    """All objects at one resource version."""

    nodes: Mapping[str, NodeRecord] = field(default_factory=dict)
    pods: Mapping[str, PodRecord] = field(default_factory=dict)


@dataclass
class ApiServer:
    """`views[v]` are the objects at version `v`, `events[v]` what happened there; version 0 is the empty cluster."""

    views: list[View] = field(default_factory=lambda: [View()])
    events: list[ClusterEvent] = field(default_factory=lambda: [PodsListed((), 0)])

    @property
    def version(self) -> int:
        """The newest resource version."""
        return len(self.views) - 1

    @property
    def now(self) -> View:
        """All objects as they are."""
        return self.views[-1]

    def put_node(self, node: NodeRecord) -> None:
        """Create or modify a node."""
        node = replace(node, resource_version=self.version + 1)
        self._write(NodeChanged(node), nodes={**self.now.nodes, node.name: node})

    def delete_node(self, name: str) -> None:
        """Delete a node."""
        left = {key: node for key, node in self.now.nodes.items() if key != name}
        self._write(NodeDeleted(name, self.version + 1), nodes=left)

    def put_pod(self, pod: PodRecord) -> None:
        """Create or modify a pod."""
        pod = structs.replace(pod, resource_version=self.version + 1)
        self._write(PodChanged(pod), pods={**self.now.pods, pod.uid: pod})

    def delete_pod(self, uid: str) -> None:
        """Delete a pod for good."""
        self._write(
            PodDeleted(uid, self.version + 1), pods={key: pod for key, pod in self.now.pods.items() if key != uid}
        )

    def restore(self, version: int, *, bump: int) -> None:
        """The storage is restored from a backup of that version; with a `bump` versions go on from the newest.

        Without one the versions after it are given out again. Objects have the versions that they had.
        """
        view = self.views[version]
        if bump:
            lists = PodsListed(tuple(view.pods.values()), self.version + bump)
            self.views.extend([view] * bump)
            self.events.extend([lists] * bump)
        else:
            del self.views[version + 1 :], self.events[version + 1 :]

    def lists(self, version: int) -> tuple[NodesListed, PodsListed]:
        """Both lists at this version."""
        view = self.views[version]
        return NodesListed(tuple(view.nodes.values()), version), PodsListed(tuple(view.pods.values()), version)

    def _write(
        self,
        event: ClusterEvent,
        nodes: Mapping[str, NodeRecord] | None = None,
        pods: Mapping[str, PodRecord] | None = None,
    ) -> None:
        self.events.append(event)
        self.views.append(View(self.now.nodes if nodes is None else nodes, self.now.pods if pods is None else pods))


Account = dict[str, tuple[frozenset[str], dict[str, tuple[int, int, int]]]]
"""Node to the UIDs of its holders and, per GPU, units used and free and percent of compute used."""


@dataclass(frozen=True)
class Claim:
    """A pod on a node: bound there, or reserved; `soft` where others may still hold what it will get."""

    uid: str
    node: str
    request: PodRequest | None
    footprint: Footprint | None
    soft: bool = False


def expected(view: View, reserved: Iterable[Claim]) -> Account:
    """What the ledger must say after it has seen `view`, with these rooms reserved."""
    bound = [
        Claim(pod.uid, pod.node, pod.request, pod.footprint) for pod in view.pods.values() if pod.node and not pod.ended
    ]
    claims = [*bound, *reserved]
    return {
        name: _account(node, [claim for claim in claims if claim.node == name]) for name, node in view.nodes.items()
    }


def _account(node: NodeRecord, claims: list[Claim]) -> tuple[frozenset[str], dict[str, tuple[int, int, int]]]:
    uids = frozenset(claim.uid for claim in claims)
    if node.inventory is None:
        return uids, {}
    size = {gpu.uuid: gpu.memory_mib // UNIT_MIB for gpu in node.inventory.gpus}
    outside = {gpu.uuid: (gpu.outside_mib + UNIT_MIB - 1) // UNIT_MIB for gpu in node.inventory.gpus}
    well = {gpu.uuid: gpu.healthy for gpu in node.inventory.gpus}
    used, core, kept = dict.fromkeys(size, 0), dict.fromkeys(size, 0), dict.fromkeys(size, 0)
    unknown: list[Claim] = []
    for claim in claims:
        if claim.soft:
            shares = claim.footprint.shares if claim.footprint else {}
            whole = claim.footprint.whole if claim.footprint else frozenset()
            for gpu, units in size.items():
                kept[gpu] += units if gpu in whole else shares.get(gpu, 0)
            continue
        here = claim.footprint is not None and {*claim.footprint.shares, *claim.footprint.whole} <= set(size)
        if claim.footprint is None or not here:
            unknown.append(claim)
            continue
        for gpu, units in size.items():
            used[gpu] += claim.footprint.shares.get(gpu, 0) + (units if gpu in claim.footprint.whole else 0)
            core[gpu] += claim.footprint.cores.get(gpu, 0)
    for claim in sorted(unknown, key=lambda claim: claim.uid):
        for demand in sorted(claim.request.demands if claim.request else (), key=lambda demand: -demand.units):
            room = {gpu: (size[gpu] - outside[gpu] if well[gpu] else 0) - used[gpu] for gpu in size}
            for gpu in sorted(size, key=lambda gpu: (-room[gpu], gpu))[: demand.gpus]:
                used[gpu] += demand.units or size[gpu]
                core[gpu] += demand.core_percent
    free = {gpu: max(0, size[gpu] - used[gpu] - kept[gpu] - outside[gpu]) if well[gpu] else 0 for gpu in size}
    return uids, {gpu: (used[gpu], free[gpu], core[gpu]) for gpu in size}


def account(snapshot: Snapshot) -> Account:
    """What the ledger says."""
    return {name: _told(node) for name, node in snapshot.nodes.items()}


def _told(node: NodeInfo) -> tuple[frozenset[str], dict[str, tuple[int, int, int]]]:
    uids = frozenset(holder.uid for holder in node.holders)
    return uids, {gpu.uuid: (gpu.used, gpu.free, gpu.core_used_percent) for gpu in node.gpus}
