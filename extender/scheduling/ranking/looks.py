"""Groups nodes that look alike, so that what is computed for one of a group holds for all.

A node's look is all that fitting and the policies read of it. Nodes of one type that hold the same on the same GPUs
look alike; on a large cluster that leaves far fewer looks than nodes.
"""

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import lru_cache
from typing import Protocol

from extender.contract.inventory import InventoryGpu
from extender.scheduling.nodes.node import NodeInfo, NodeRecord
from extender.scheduling.pods.request import PodRequest

LookOf = Callable[[NodeInfo, int], Hashable]

MOVES, MOVES_PER_GROUP = 1024, 4
"""Moves between groups that are remembered for followers: a fixed number, and so many more for each group. A follower
that is further behind looks at all groups, which is less work than following more moves."""

EMPTY_GROUPS = 1024
"""Groups without nodes that are kept at least: a node that is held and released comes back to its old look."""

LOOKED_AT_PER_EMPTY = 4
"""Groups that are examined for each that becomes empty: it raises the surplus by two, and at most every second group
has nodes."""


class Changing(Protocol):
    """Nodes that change, as `extender.scheduling.ledger.ledger.Ledger` has them."""

    @property
    def nodes(self) -> Mapping[str, NodeInfo]:
        """All nodes as they are now."""
        ...

    def changed_since(self, position: int) -> tuple[Iterable[str] | None, int]:
        """Names of nodes that changed after `position` (None: too long ago), and the position now."""
        ...


def look_of(node: NodeInfo, make: int) -> Hashable:
    """What fitting and most policies read of a node of this make: all but names, memory and the pods themselves."""
    gpus = tuple([(gpu.used, gpu.whole, gpu.core_used_percent) for gpu in node.gpus])
    return make, node.unit_matches, node.cpu_used_milli, gpus, node.claims


def full_look_of(node: NodeInfo, make: int) -> Hashable:
    """The same, with the node's memory and the kinds of its pods, for the policies in `READ_ALL`."""
    kinds = frozenset([_kind(holder.request) for holder in node.holders if holder.request is not None])
    return look_of(node, make), node.record.memory_bytes, node.memory_used_bytes, kinds


READ_ALL = frozenset({"gpushare", "gpu-clustering"})
"""Policies that read more of a node than `look_of` has; a test holds all others to it."""


def make_of(record: NodeRecord) -> Hashable:
    """What of a look does not depend on pods: GPUs, CPU, and which resources the kubelet offers."""
    inventory = record.inventory
    gpus = () if inventory is None else tuple([_gpu(gpu) for gpu in inventory.gpus])
    offers = (bool(record.memory_units), bool(record.whole_gpus), bool(record.core_percent))
    return inventory is None, inventory and inventory.unit_mib, gpus, record.shape, record.cpu_milli, offers


def _gpu(gpu: InventoryGpu) -> Hashable:
    return gpu.model, gpu.memory_mib, gpu.healthy, gpu.outside_mib


@lru_cache(maxsize=8192)
def _kind(request: PodRequest) -> tuple[bool, int]:
    return bool(request.demands), request.whole_gpus


class Group:
    """Nodes that look alike; `names` ascending, perhaps none. Compared by identity; `serial` orders."""

    __slots__ = ("look", "names", "serial")

    def __init__(self, look: Hashable, serial: int) -> None:
        self.look = look
        self.serial = serial
        self.names: list[str] = []


class Groups:
    """The nodes of one cluster by look, brought up to date by `follow`; its owner serializes all calls."""

    def __init__(self, look: LookOf = look_of) -> None:
        self._look = look
        self._position = -1
        self._last_make = 0
        self._makes: dict[Hashable, int] = {}
        self._made: dict[str, tuple[NodeRecord, int]] = {}
        self._by_look: OrderedDict[Hashable, Group] = OrderedDict()
        self._moves: list[tuple[Group, int]] = []
        self._moves_dropped = 0
        self._serial = 0
        self._occupied = 0
        self._due = 0
        self.of: dict[str, Group] = {}
        self.by_serial: dict[int, Group] = {}

    def follow(self, cluster: Changing) -> int:
        """Take in what has changed; returns the position in its own log of moves."""
        changed, position = cluster.changed_since(self._position)
        self._position = position
        nodes = cluster.nodes
        if changed is None:
            changed = {**self.of, **nodes}
        for name in changed:
            self._see(name, nodes.get(name))
        self._bury()
        most = MOVES + MOVES_PER_GROUP * len(self._by_look)
        if len(self._moves) > most:
            self._drop_moves(len(self._moves) - most // 2)
        return self._moves_dropped + len(self._moves)

    def moves_since(self, position: int) -> dict[Group, int] | None:
        """By how many nodes groups grew after `position`, 0 where only names changed; None: too long ago."""
        if position < self._moves_dropped:
            return None
        grown: dict[Group, int] = {}
        for group, by in self._moves[position - self._moves_dropped :]:
            grown[group] = grown.get(group, 0) + by
        return grown

    def occupied(self) -> dict[Group, int]:
        """Every group that has nodes, and how many."""
        return {group: len(group.names) for group in self._by_look.values() if group.names}

    def _see(self, name: str, node: NodeInfo | None) -> None:
        before = self.of.get(name)
        if node is None:
            if before is not None:
                self._leave(name, before)
                del self.of[name], self._made[name]
            return
        look = self._look(node, self._make(name, node.record))
        if before is not None:
            if before.look == look:
                return
            self._leave(name, before)
        group = self._by_look.get(look)
        if group is None:
            self._serial += 1
            group = self._by_look[look] = self.by_serial[self._serial] = Group(look, self._serial)
        if not group.names:
            self._occupied += 1
        insort(group.names, name)
        self.of[name] = group
        self._moves.append((group, 1))

    def _make(self, name: str, record: NodeRecord) -> int:
        known = self._made.get(name)
        if known is not None and known[0] is record:
            return known[1]
        parts = make_of(record)
        make = self._makes.get(parts)
        if make is None:
            self._last_make += 1  # never given out twice: a look must not come to mean something else
            make = self._makes[parts] = self._last_make
        self._made[name] = (record, make)
        return make

    def _leave(self, name: str, group: Group) -> None:
        del group.names[bisect_left(group.names, name)]
        if not group.names:
            self._occupied -= 1
            self._due += LOOKED_AT_PER_EMPTY
        self._moves.append((group, -1))

    def _drop_moves(self, count: int) -> None:
        del self._moves[:count]
        self._moves_dropped += count

    def _bury(self) -> None:
        """Forget the oldest groups without nodes while there are too many: a few at a time, since a call waits.

        Moves tell of a group as long as they are remembered, so those who follow them miss nothing.
        """
        while self._due:
            self._due -= 1
            if len(self._by_look) <= 2 * self._occupied + EMPTY_GROUPS:
                self._due = 0
                break
            look, group = self._by_look.popitem(last=False)
            if group.names:
                self._by_look[look] = group
            else:
                del self.by_serial[group.serial]
        if len(self._makes) > 2 * len(self._made) + EMPTY_GROUPS:
            in_use = {make for _, make in self._made.values()}
            self._makes = {parts: make for parts, make in self._makes.items() if make in in_use}
