"""Keeps, per kind of request, the cost of every look of a node in order, so that the best of thousands is found fast.

A ranking is brought up to date with the looks that came or went since it was last asked, and with no others. It gives
exactly what fitting the request on every node would give; a test holds it to that.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from heapq import heapify, heappop, heappush

from msgspec import Struct

from extender.scheduling.fitting.fitting import Fit, fit
from extender.scheduling.fitting.reasons import Misfit
from extender.scheduling.nodes.node import NodeInfo
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Cost, Policy
from extender.scheduling.ranking.looks import Changing, Group, Groups

_Entry = tuple[Cost, str, int]

_KNOWN_COSTS = 1024
_KNOWN_FITS = 32

_PROBES = 4
"""Names that are looked for in the list of those asked about; for more, a set of them pays."""


class Feasible(Struct, frozen=True, gc=False):
    """A node on which the pod fits, and how."""

    node: str
    fit: Fit


class RunnerUp(Struct, frozen=True, gc=False):
    """The second best node and its cost."""

    node: str
    cost: Cost


class Ranked(Struct, frozen=True, gc=False):
    """The best nodes, best first, how the pod fits on the first, and how all nodes of the cluster stand to it."""

    names: tuple[str, ...]
    first: Feasible | None
    fitting: int
    refused: Mapping[Misfit, int]
    runner_up: RunnerUp | None = None


class Ranking:
    """One kind of request under one policy.

    `_answers` has an entry per group of nodes that look alike: their cost, or why the request does not fit them.
    `_heap` has each group that fits with the first of its names; stale entries are left in it until they come up,
    recognised by the group's first name.
    """

    __slots__ = (
        "_answers",
        "_costs",
        "_fits",
        "_fitting",
        "_groups",
        "_heap",
        "_policy",
        "_position",
        "_refused",
        "_request",
        "_todo",
    )

    def __init__(self, request: PodRequest, policy: Policy, groups: Groups) -> None:
        self._request = request
        self._policy = policy
        self._groups = groups
        self._position = -1
        self._answers: dict[int, Cost | Misfit] = {}
        self._costs: dict[Cost, Cost] = {}
        self._fits: dict[int, Fit] = {}
        self._heap: list[_Entry] = []
        self._fitting = 0
        self._refused: Counter[Misfit] = Counter()
        self._todo: dict[Group, int] = {}

    @property
    def entries(self) -> int:
        """Answers remembered."""
        return len(self._answers)

    def best(self, cluster: Changing, asked: Collection[str], count: int) -> Ranked:
        """The `count` nodes of lowest cost among `asked`; ties by name."""
        self.catch_up(cluster)
        nodes = cluster.nodes
        # Few names: looking at each is less work than passing over the others.
        few = 4 * len(asked) < self._fitting
        wanted = max(2, count)  # the second is the runner-up
        ranked = self._few(asked, wanted) if few else self._many(_Asked(asked, wanted), wanted)
        first = None
        if ranked:
            name = ranked[0][1]
            serial = self._groups.of[name].serial
            # What packs well is packed further, and the best nodes often look alike: the answer is there already.
            answer = self._fits.get(serial) or fit(nodes[name], self._request, self._policy)
            if isinstance(answer, Fit):
                self._remember(serial, answer)
                first = Feasible(name, answer)
        runner_up = RunnerUp(ranked[1][1], ranked[1][0]) if len(ranked) > 1 else None
        names = tuple([name for _, name in ranked[:count]])
        return Ranked(names, first, self._fitting, dict(self._refused), runner_up)

    def costs(self, cluster: Changing, asked: Iterable[str]) -> dict[str, Cost]:
        """The cost of each of `asked` on which the request fits."""
        self.catch_up(cluster)
        return {name: cost for name in asked if type(cost := self._answer(name)) is tuple}

    def refusals(self, cluster: Changing, asked: Iterable[str]) -> dict[str, Misfit]:
        """The reason of each of `asked` on which the request does not fit."""
        self.catch_up(cluster)
        answers = ((name, self._answer(name)) for name in asked)
        return {name: answer for name, answer in answers if isinstance(answer, Misfit)}

    def catch_up(self, cluster: Changing, most: int | None = None) -> bool:
        """Take in what has changed; with `most`, compute at most so many answers. False: some are still to be computed.

        Only after True the ranking may be asked.
        """
        position = self._groups.follow(cluster)
        grown = self._groups.moves_since(self._position)
        self._position = position
        if grown is None:
            self._recount()
        elif self._todo:
            for group, by in grown.items():
                self._todo[group] = self._todo.get(group, 0) + by
        else:
            self._todo = grown
        complete = self._work_off(cluster.nodes, most)
        if complete and len(self._answers) > 2 * len(self._groups.by_serial) + 64:
            self._forget_buried()
        if len(self._heap) > 2 * len(self._answers) + 64:
            self._sweep()
        return complete

    def _work_off(self, nodes: Mapping[str, NodeInfo], most: int | None) -> bool:
        todo, answers = self._todo, self._answers
        while todo:
            group, by = todo.popitem()
            if group.serial not in answers:
                if not group.names:
                    continue
                if most is not None:
                    if not most:
                        todo[group] = by
                        return False
                    most -= 1
                answers[group.serial] = self._judged(nodes[group.names[0]], group.serial)
                by = len(group.names)  # nothing of this group has been counted yet
            self._count(group, by)
        return True

    def _judged(self, node: NodeInfo, serial: int) -> Cost | Misfit:
        answer = fit(node, self._request, self._policy)
        if isinstance(answer, Misfit):
            return answer
        self._remember(serial, answer)
        if len(self._costs) > _KNOWN_COSTS:
            self._costs.clear()
        # Many nodes cost the same: one tuple for all of them.
        return self._costs.setdefault(answer.cost, answer.cost)

    def _remember(self, serial: int, answer: Fit) -> None:
        if len(self._fits) >= _KNOWN_FITS:
            self._fits.clear()
        self._fits[serial] = answer

    def _count(self, group: Group, by: int) -> None:
        """The group, whose answer is known, has grown by so many nodes, or has other ones."""
        answer = self._answers[group.serial]
        if isinstance(answer, Misfit):
            self._refused[answer] += by
        else:
            self._fitting += by
            if group.names:
                heappush(self._heap, (answer, group.names[0], group.serial))

    def _recount(self) -> None:
        """Count from scratch after too many moves: forget the groups that are gone, and see where the nodes are now."""
        self._forget_buried()
        answers = self._answers
        self._refused.clear()
        self._todo = {}
        self._fitting = 0
        for group, nodes in self._groups.occupied().items():
            answer = answers.get(group.serial)
            if answer is None:
                self._todo[group] = nodes
            elif isinstance(answer, Misfit):
                self._refused[answer] += nodes
            else:
                self._fitting += nodes
        self._sweep()

    def _forget_buried(self) -> None:
        """Drop the answers of groups that are gone; none of their nodes may still be counted."""
        by_serial = self._groups.by_serial
        self._answers = {serial: answer for serial, answer in self._answers.items() if serial in by_serial}

    def _sweep(self) -> None:
        """Rebuild the heap from the valid answers."""
        answers, by_serial = self._answers, self._groups.by_serial
        self._heap = [
            (answer, group.names[0], serial)
            for serial, answer in answers.items()
            if not isinstance(answer, Misfit) and (group := by_serial.get(serial)) is not None and group.names
        ]
        heapify(self._heap)

    def _answer(self, name: str) -> Cost | Misfit:
        group = self._groups.of.get(name)
        return Misfit.UNKNOWN_NODE if group is None else self._answers[group.serial]

    def _few(self, asked: Collection[str], count: int) -> list[tuple[Cost, str]]:
        found = [(cost, name) for name in set(asked) if type(cost := self._answer(name)) is tuple]
        if count == 2 and len(found) > 2:
            # Twice through is less work than sorting.
            best = min(found)
            found.remove(best)
            return [best, min(found)]
        return sorted(found)[:count]

    def _many(self, asked: "_Asked", count: int) -> list[tuple[Cost, str]]:
        heap, by_serial = self._heap, self._groups.by_serial
        reached: dict[int, int] = {}
        passed: list[_Entry] = []
        found: list[tuple[Cost, str]] = []
        while heap and len(found) < count:
            cost, name, serial = entry = heappop(heap)
            group = by_serial.get(serial)
            if group is None:
                continue
            names, at = group.names, reached.get(serial, 0)
            if at >= len(names) or names[at] != name:
                continue  # stale, or a duplicate
            if not at:
                passed.append(entry)
            if name in asked:
                found.append((cost, name))
                if len(found) == count:
                    break
            at += 1
            while at < len(names) and names[at] not in asked:
                at += 1
            reached[serial] = at
            if at < len(names):
                heappush(heap, (cost, names[at], serial))
        for entry in passed:
            heappush(heap, entry)
        return found


class _Asked:
    """The names asked about; a set of them is made only when more than a few are looked for (`wanted`: at least)."""

    __slots__ = ("_left", "_names")

    def __init__(self, names: Collection[str], wanted: int) -> None:
        self._names = names
        self._left = _PROBES if wanted < _PROBES else 1

    def __contains__(self, name: str) -> bool:
        self._left -= 1
        if not self._left:
            self._names = frozenset(self._names)
        return name in self._names
