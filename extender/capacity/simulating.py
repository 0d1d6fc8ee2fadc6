"""Simulates where pods that do not exist yet would go, how many copies fit at most, and what the limit is.

Pods are placed one after another, as kube-scheduler does, each where the extender's filter would send it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from extender.capacity.blocking import Blocked, blocked
from extender.capacity.eligibility import ANYWHERE, Constraints
from extender.capacity.packing import Packing
from extender.scheduling.pods.footprint import Footprint
from extender.scheduling.pods.request import PodRequest

MOST_PODS = 10_000
"""Pods after which the search for how many more would fit ends."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One kind of pod, and how many of it are in one copy of what is simulated.

    Args:
        name: where it comes from, for people: `Deployment/llm`.
        request: what it asks for; without demands it asks for no GPU.
        pods: how many.
        constraints: what it asks of its node.
    """

    name: str
    request: PodRequest
    pods: int = 1
    constraints: Constraints = ANYWHERE


@dataclass(frozen=True, slots=True)
class Placed:
    """One pod that found a place; `footprint` says which GPUs, None where it asks for none."""

    wanted: int
    copy: int
    node: str
    footprint: Footprint | None = None


@dataclass(frozen=True, slots=True)
class Simulation:
    """What would happen.

    Args:
        wanted: what was asked.
        copies: how often.
        placed: the pods that found a place, in order.
        at_most: copies that fit whole, one after the other, from the cluster as it is.
        bounded: whether the search ended before a copy did not fit.
        refused: per kind of pod that does not fit as often as asked, why, by its position in `wanted`.
        ended_by: why the copy after the last did not fit.
        ended_on: the position of the kind of pod that did not.
    """

    wanted: tuple[Wanted, ...]
    copies: int
    placed: tuple[Placed, ...] = ()
    at_most: int = 0
    bounded: bool = False
    refused: dict[int, Blocked] = field(default_factory=dict)
    ended_by: Blocked | None = None
    ended_on: int = 0

    @property
    def fits(self) -> bool:
        """Whether all of it finds a place."""
        return not self.refused

    def placed_of(self, at: int) -> int:
        """Pods of the kind at this position that found a place."""
        return sum(one.wanted == at for one in self.placed)


def simulate(packing: Packing, wanted: Sequence[Wanted], copies: int, *, most_pods: int = MOST_PODS) -> Simulation:
    """Place `copies` of all that is `wanted` in `packing`, then more of it until a copy does not fit."""
    placed: list[Placed] = []
    refused: dict[int, Blocked] = {}
    whole = 0
    ended: tuple[int, Blocked] | None = None
    for copy in range(copies):
        complete = True
        for at, one in enumerate(wanted):
            for number in range(one.pods):
                # Nothing leaves, so what did not fit once will not fit later.
                found = None if at in refused else _place(packing, one, f"simulated-{at}-{copy}-{number}")
                if found is not None:
                    placed.append(Placed(at, copy, *found))
                    continue
                complete = False
                if at not in refused:
                    refused[at] = blocked(packing, one.request, one.constraints)
                    ended = ended or (at, refused[at])
        whole += complete
    bounded = False
    if ended is None and any(one.pods for one in wanted):
        more, ended = _more(packing, wanted, max(0, most_pods - len(placed)))
        whole += more
        bounded = ended is None
    at, why = ended if ended is not None else (0, None)
    return Simulation(tuple(wanted), copies, tuple(placed), whole, bounded, refused, why, at)


def _more(packing: Packing, wanted: Sequence[Wanted], most_pods: int) -> tuple[int, tuple[int, Blocked] | None]:
    copies = 0
    pods = sum(one.pods for one in wanted)
    while (copies + 1) * pods <= most_pods:
        for at, one in enumerate(wanted):
            for number in range(one.pods):
                if _place(packing, one, f"more-{at}-{copies}-{number}") is None:
                    return copies, (at, blocked(packing, one.request, one.constraints))
        copies += 1
    return copies, None


def _place(packing: Packing, one: Wanted, uid: str) -> tuple[str, Footprint | None] | None:
    if one.request.demands:
        plan = packing.place(uid, one.request, one.constraints)
        return None if plan is None else (plan.node, plan.footprint)
    node = packing.place_plain(uid, one.request, one.constraints)
    return None if node is None else (node, None)
