"""Finds the cheapest set of pods whose eviction makes room.

What is cheapest follows pickOneNodeForPreemption in kube-scheduler (pkg/scheduler/framework/preemption), and which pod
is more important MoreImportantPod there (pkg/scheduler/util).
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from math import inf

from msgspec import Struct

from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.preempting.budgets import violations

_LOWEST = 2**31
"""Makes every priority positive, so that more victims never make a smaller sum."""

_MOST_SEARCHED = 64
"""Pods among which the cheapest set is searched for; of more, those that need not go are reprieved and that is all."""

Cost = tuple[int, int, int, int, float, tuple[str, ...]]
"""Budgets that are violated, highest priority, sum of priorities, number of pods, how long the longest running of the
most important has run (greater for longer), UIDs: the smaller, the cheaper."""


class Expendable(Struct, frozen=True, gc=False):
    """A pod that may be evicted: the positions of the budgets that it takes from, and how much it makes free."""

    pod: PodRecord
    budgets: tuple[int, ...] = ()
    units: int = 0
    core_percent: int = 0
    whole: bool = False

    @property
    def uid(self) -> str:
        """The pod's UID."""
        return self.pod.uid

    def is_like(self, other: "Expendable") -> bool:
        """Whether evicting one is as good as evicting the other but for how long they have run."""
        return (
            self.pod.priority == other.pod.priority
            and (self.budgets, self.units, self.core_percent, self.whole)
            == (other.budgets, other.units, other.core_percent, other.whole)
            and self.pod.footprint == other.pod.footprint
        )


@dataclass(slots=True)
class Effort:
    """Bounds the work for one answer: steps of the search that are left, all of them part of what `total` has left."""

    left: int
    total: "Effort | None" = None

    def spend(self, steps: int) -> bool:
        """Whether so many steps were left; they are not any more."""
        self.left -= steps
        return self.left >= 0 and (self.total is None or self.total.spend(steps))


def importance(pod: PodRecord) -> tuple[int, float, str]:
    """Sorts the most important pod first: by priority, then by how long it has run."""
    return -pod.priority, _started_s(pod), pod.uid


def _started_s(pod: PodRecord) -> float:
    return _seconds(pod.started) if pod.started else inf


@lru_cache(maxsize=4_096)
def _seconds(started: str) -> float:
    try:
        return datetime.fromisoformat(started).timestamp()
    except ValueError:
        return inf


def violated(members: Iterable[Expendable], allows: Sequence[int]) -> int:
    """How many of these pods a budget protects when all of them are evicted."""
    if not allows:
        return 0
    ordered = sorted([each for each in members if each.budgets], key=_importance)
    return sum(violations([each.budgets for each in ordered], allows))


def cost_of(members: Collection[Expendable], allows: Sequence[int]) -> Cost:
    """What it costs to evict these pods."""
    if not members:
        return 0, -_LOWEST, 0, 0, -inf, ()
    highest = max(each.pod.priority for each in members)
    return (
        violated(members, allows),
        highest,
        sum(each.pod.priority + _LOWEST for each in members),
        len(members),
        -min(_started_s(each.pod) for each in members if each.pod.priority == highest),
        tuple(sorted(each.uid for each in members)),
    )


def cheapest(
    candidates: Collection[Expendable],
    fits: Callable[[Collection[str]], bool],
    allows: Sequence[int],
    effort: Effort,
    *,
    beside: Sequence[Expendable] = (),
    steps: int = 1,
) -> list[Expendable] | None:
    """The cheapest of the sets whose eviction suffices, each needed; None when not even all of them do.

    `fits` says whether the preemptor fits once the pods of these UIDs are gone, and never says no after more of them;
    to ask it takes so many `steps`. `allows` are the evictions that budgets allow. `beside` are evicted in any case.
    Where `effort` does not last, it is the cheapest set that was found.
    """
    # What frees most comes first: few pods are cheaper than many.
    ordered = sorted(candidates, key=lambda each: (each.pod.priority, -each.units, *_newest(each)))
    return _Search(ordered, fits, allows, effort, beside, steps).run()


@dataclass(slots=True)
class _Search:
    """Depth first: each pod is taken or left, until the set suffices or costs as much as the best one so far."""

    candidates: list[Expendable]
    fits: Callable[[Collection[str]], bool]
    allows: Sequence[int]
    effort: Effort
    beside: Sequence[Expendable]
    steps: int
    best: list[Expendable] = field(default_factory=list)
    cost: Cost = (0, 0, 0, 0, 0.0, ())

    def run(self) -> list[Expendable] | None:
        self.best = self.candidates
        if not self._suffices(self.best):
            return None
        self.best = needed = self._reprieved(self.best)
        self.cost = self._cost_with(self.best)
        if len(self.candidates) <= _MOST_SEARCHED:
            _, highest, total, *_ = cost_of(self.beside, ())
            self._extend(0, [], highest, total)
        return needed if self.best is needed else self._reprieved(self.best)

    def _reprieved(self, victims: list[Expendable]) -> list[Expendable]:
        """Those who must go; asked in kube-scheduler's order: protected ones, then the most important, first."""
        ordered = sorted([*victims, *self.beside], key=_importance)
        protected = violations([each.budgets for each in ordered], self.allows)
        going = {each.uid: each for each in victims}
        asked = [
            each
            for _, each in sorted(zip(protected, ordered, strict=True), key=lambda pair: not pair[0])
            if each.uid in going
        ]
        # Several are asked about at once, more as long as they may stay: most often most of them may.
        at, many = 0, 1
        while at < len(asked):
            staying = {each.uid for each in asked[at : at + many]}
            left = {uid: each for uid, each in going.items() if uid not in staying}
            if self._suffices(left.values()):
                going, at, many = left, at + many, many * 2
            elif many == 1:
                at += 1
            else:
                many //= 2
        return list(going.values())

    def _extend(self, at: int, taken: list[Expendable], highest: int, total: int) -> None:
        """Try what can be added to `taken`, whose priorities have this maximum and sum."""
        if not self.effort.spend(self.steps):
            return
        broken = violated([*self.beside, *taken], self.allows) if self.allows else 0
        so_far = broken, highest, total, len(self.beside) + len(taken)
        if so_far > self.cost[:4]:
            return
        if self._suffices(taken):
            cost = self._cost_with(taken)
            if cost < self.cost:
                self.best, self.cost = taken, cost
            return
        # One more at least is needed, which makes it dearer in what comes first.
        if at == len(self.candidates) or so_far == self.cost[:4]:
            return
        first = self.candidates[at]
        priority = first.pod.priority
        self._extend(at + 1, [*taken, first], max(highest, priority), total + priority + _LOWEST)
        while at < len(self.candidates) and first.is_like(self.candidates[at]):
            at += 1  # the first of those that are alike is the best of them
        if self._suffices([*taken, *self.candidates[at:]]):
            self._extend(at, taken, highest, total)

    def _suffices(self, taken: Iterable[Expendable]) -> bool:
        return self.fits({each.uid for each in taken})

    def _cost_with(self, taken: Sequence[Expendable]) -> Cost:
        return cost_of([*self.beside, *taken], self.allows)


def _importance(candidate: Expendable) -> tuple[int, float, str]:
    return importance(candidate.pod)


def _newest(candidate: Expendable) -> tuple[float, str]:
    return -_started_s(candidate.pod), candidate.uid
