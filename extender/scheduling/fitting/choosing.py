"""Chooses the GPUs of one node that each demand of a request takes."""

from collections.abc import Sequence

from msgspec import Struct

from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.request import Demand
from extender.scheduling.policies.policy import Policy

_SEARCH_STEPS = 20_000
"""Bound of the exhaustive search for pods of several demands, far above what eight GPUs need."""

_SEARCH_GPUS = 256
"""GPUs, counted once per demand, up to which a pod is searched for; bounds the depth of the recursion."""

Chosen = tuple[tuple[int, ...], ...]
"""Per demand of the request, the positions of its GPUs in `NodeInfo.gpus`."""


class Room(Struct, frozen=True, gc=False):
    """Per GPU: units that can be taken (-1 where the pod accepts none), whether it can be held whole, and compute.

    `core` is percent per GPU, empty when the pod asks for none. `slices` says which GPUs are MIG devices, which serve
    no demand for several GPUs; it is empty where none is.
    """

    free: tuple[int, ...]
    idle: tuple[bool, ...]
    core: tuple[int, ...] = ()
    slices: tuple[bool, ...] = ()

    def fits(self, demand: Demand, at: int) -> bool:
        """Whether the GPU at this position can serve `demand`."""
        if demand.core_percent and self.core[at] < demand.core_percent:
            return False
        if demand.gpus > 1 and self.slices and self.slices[at]:
            return False
        return self.idle[at] if demand.whole else self.free[at] >= demand.units

    def looks(self, at: int) -> tuple[int, bool, int, bool]:
        """All that tells the GPU at this position apart from others."""
        is_slice = bool(self.slices) and self.slices[at]
        return self.free[at], self.idle[at], self.core[at] if self.core else 0, is_slice

    def without(self, demand: Demand, positions: Sequence[int]) -> "Room":
        """What is left when `demand` takes the GPUs at `positions`."""
        free, idle, core = list(self.free), list(self.idle), list(self.core)
        for at in positions:
            free[at] = 0 if demand.whole else free[at] - demand.units
            idle[at] = False
            if core:
                core[at] = 0 if demand.whole else core[at] - demand.core_percent
        return Room(tuple(free), tuple(idle), tuple(core), self.slices)


def choose(
    node: NodeInfo, demands: Sequence[Demand], policy: Policy, room: Room, *, cpu_milli: int = 0
) -> Chosen | None:
    """The policy's choice, the largest demand first; where that leads nowhere, any choice; None when there is none.

    `cpu_milli` is the CPU that the pod asks for.
    """
    if len(demands) == 1:
        alone = _pick(node, policy, demands[0], room, cpu_milli)
        return None if alone is None else (alone,)
    # Whole GPUs first: they have the least choice.
    order = sorted(
        range(len(demands)),
        key=lambda at: (not demands[at].whole, -demands[at].units, -demands[at].core_percent, -demands[at].gpus, at),
    )
    chosen: list[tuple[int, ...]] = [()] * len(demands)
    left = room
    for at in order:
        positions = _pick(node, policy, demands[at], left, cpu_milli)
        if positions is None:
            return _Search(tuple(demands), tuple(order)).run(room)
        chosen[at] = positions
        left = left.without(demands[at], positions)
    return tuple(chosen)


def _pick(node: NodeInfo, policy: Policy, demand: Demand, room: Room, cpu_milli: int) -> tuple[int, ...] | None:
    free, units = room.free, demand.units
    if units:
        candidates = [at for at, left in enumerate(free) if left >= units]
        if demand.core_percent:
            candidates = [at for at in candidates if room.core[at] >= demand.core_percent]
    else:
        candidates = [at for at, can in enumerate(room.idle) if can]
    if demand.gpus > 1 and room.slices:
        candidates = [at for at in candidates if not room.slices[at]]
    if len(candidates) < demand.gpus:
        return None
    if len(candidates) == 1:
        return (candidates[0],)
    ranked = zip(policy.gpu_costs(node, free, candidates, units, cpu_milli), candidates, strict=True)
    if demand.gpus == 1:
        return (min(ranked)[1],)
    return tuple(sorted(at for _, at in sorted(ranked)[: demand.gpus]))


class _Search:
    """Depth-first search for any assignment; GPUs that look alike, and rooms that do, are tried once."""

    def __init__(self, demands: tuple[Demand, ...], order: tuple[int, ...]) -> None:
        self._demands = demands
        self._order = order
        self._chosen: list[tuple[int, ...]] = [()] * len(demands)
        self._steps = 0
        self._hopeless: set[tuple[int, tuple[tuple[int, bool, int, bool], ...]]] = set()

    def run(self, room: Room) -> Chosen | None:
        return tuple(self._chosen) if self._in_reach(room) and self._place(0, room) else None

    def _in_reach(self, room: Room) -> bool:
        units = sum(demand.units * demand.gpus for demand in self._demands)
        whole = sum(demand.gpus for demand in self._demands if demand.whole)
        gpus = sum(demand.gpus for demand in self._demands)
        return gpus <= _SEARCH_GPUS and whole <= sum(room.idle) and units <= sum(left for left in room.free if left > 0)

    def _place(self, depth: int, room: Room) -> bool:
        if depth == len(self._order):
            return True
        looks = (depth, tuple(sorted(map(room.looks, range(len(room.free))))))
        if looks in self._hopeless:
            return False
        if self._extend(depth, (), room):
            return True
        self._hopeless.add(looks)
        return False

    def _extend(self, depth: int, taken: tuple[int, ...], room: Room) -> bool:
        demand = self._demands[self._order[depth]]
        if len(taken) == demand.gpus:
            self._chosen[self._order[depth]] = taken
            return self._place(depth + 1, room.without(demand, taken))
        tried: set[tuple[int, bool, int, bool]] = set()
        for at in range(taken[-1] + 1 if taken else 0, len(room.free)):
            looks = room.looks(at)
            if looks in tried or not room.fits(demand, at):
                continue
            tried.add(looks)
            self._steps += 1
            if self._steps > _SEARCH_STEPS:
                return False
            if self._extend(depth, (*taken, at), room):
                return True
        return False
