"""Keeps, per kind of request, every node's cost in order, so that the best of thousands is found by looking at few.

A ranking is brought up to date with the nodes that changed since it was last asked, and with no others. It gives
exactly what `extender.scheduling.filtering.filter_nodes` would give on the same snapshot; a test holds it to that.
"""

from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Protocol

from extender.scheduling.filtering import Feasible
from extender.scheduling.fitting import Fit, fit
from extender.scheduling.node import NodeInfo
from extender.scheduling.policies.policy import Cost, Policy
from extender.scheduling.reasons import Misfit
from extender.scheduling.request import PodRequest

_Entry = tuple[Cost, str, int]


class Changing(Protocol):
    """Nodes that change, as `extender.scheduling.ledger.Ledger` has them."""

    @property
    def nodes(self) -> Mapping[str, NodeInfo]:
        """All nodes as they are now."""
        ...

    def changed_since(self, position: int) -> tuple[Iterable[str] | None, int]:
        """Names of nodes that changed after `position` (None: nobody remembers), and the position now."""
        ...


@dataclass(frozen=True, slots=True)
class RunnerUp:
    """The node that the best one was preferred to, and its cost."""

    node: str
    cost: Cost


@dataclass(frozen=True, slots=True)
class Ranked:
    """The best nodes, best first, and how all nodes of the cluster stand to the request."""

    best: tuple[Feasible, ...]
    fitting: int
    refused: Mapping[Misfit, int]
    runner_up: RunnerUp | None = None


class Ranking:
    """One kind of request under one policy.

    `_costs` has an entry per node: its cost, or why it does not fit. `_heap` orders the costs; entries that are no
    longer true are left in it until they come up, recognised by the node's generation.
    """

    __slots__ = ("_costs", "_fitting", "_generations", "_heap", "_policy", "_position", "_refused", "_request")

    def __init__(self, request: PodRequest, policy: Policy) -> None:
        self._request = request
        self._policy = policy
        self._position = -1
        self._costs: dict[str, Cost | Misfit] = {}
        self._generations: dict[str, int] = {}
        self._heap: list[_Entry] = []
        self._fitting = 0
        self._refused: Counter[Misfit] = Counter()

    def best(self, cluster: Changing, asked: Collection[str], count: int) -> Ranked:
        """The `count` nodes of lowest cost among `asked`; ties by name."""
        self._catch_up(cluster)
        nodes = cluster.nodes
        # Few names: looking at each is less work than passing over the others.
        few = 4 * len(asked) < self._fitting
        wanted = max(2, count)  # the second is who the best was preferred to
        ranked = self._few(asked, wanted) if few else self._many(set(asked), wanted)
        best: list[Feasible] = []
        for _, name in ranked[:count]:
            answer = fit(nodes[name], self._request, self._policy)
            if isinstance(answer, Fit):
                best.append(Feasible(name, answer))
        runner_up = RunnerUp(ranked[1][1], ranked[1][0]) if len(ranked) > 1 else None
        return Ranked(tuple(best), self._fitting, dict(self._refused), runner_up)

    def refusals(self, cluster: Changing, asked: Iterable[str]) -> dict[str, Misfit]:
        """The reason of each of `asked` on which the request does not fit."""
        self._catch_up(cluster)
        costs = self._costs
        answers = ((name, costs.get(name, Misfit.UNKNOWN_NODE)) for name in asked)
        return {name: answer for name, answer in answers if isinstance(answer, Misfit)}

    def _few(self, asked: Collection[str], count: int) -> list[tuple[Cost, str]]:
        costs = self._costs
        found = [(cost, name) for name in set(asked) if type(cost := costs.get(name)) is tuple]
        if count == 2 and len(found) > 2:
            # Twice through is less work than sorting.
            best = min(found)
            found.remove(best)
            return [best, min(found)]
        return sorted(found)[:count]

    def _many(self, asked: set[str], count: int) -> list[tuple[Cost, str]]:
        heap, generations = self._heap, self._generations
        passed: list[_Entry] = []
        found: list[tuple[Cost, str]] = []
        while heap and len(found) < count:
            entry = heappop(heap)
            if generations.get(entry[1]) != entry[2]:
                continue
            passed.append(entry)
            if entry[1] in asked:
                found.append((entry[0], entry[1]))
        for entry in passed:
            heappush(heap, entry)
        return found

    def _catch_up(self, cluster: Changing) -> None:
        changed, position = cluster.changed_since(self._position)
        self._position = position
        nodes = cluster.nodes
        if changed is None:
            self._costs.clear()
            self._generations.clear()
            self._heap.clear()
            self._refused.clear()
            self._fitting = 0
            changed = nodes
        for name in changed:
            self._update(name, nodes.get(name))
        if len(self._heap) > 2 * self._fitting + 64:
            generations = self._generations
            self._heap = [entry for entry in self._heap if generations.get(entry[1]) == entry[2]]
            heapify(self._heap)

    def _update(self, name: str, node: NodeInfo | None) -> None:
        if node is not None and self._generations.get(name) == node.generation:
            return
        before = self._costs.pop(name, None)
        if isinstance(before, Misfit):
            self._refused[before] -= 1
        elif before is not None:
            self._fitting -= 1
        if node is None:
            self._generations.pop(name, None)
            return
        self._generations[name] = node.generation
        answer = fit(node, self._request, self._policy)
        if isinstance(answer, Fit):
            self._costs[name] = answer.cost
            self._fitting += 1
            heappush(self._heap, (answer.cost, name, node.generation))
        else:
            self._costs[name] = answer
            self._refused[answer] += 1


class Rankings:
    """Rankings of the `kinds` most recently asked kinds of request.

    A policy must be hashable, and equal only to its like: one with other weights is another policy.
    """

    def __init__(self, kinds: int = 32) -> None:
        if kinds < 1:
            raise ValueError(f"kinds is {kinds}, expected at least 1")
        self._kinds = kinds
        self._rankings: OrderedDict[tuple[PodRequest, Policy], Ranking] = OrderedDict()

    def of(self, request: PodRequest, policy: Policy) -> Ranking:
        """The ranking of this kind of request, empty at first."""
        key = (request, policy)
        ranking = self._rankings.get(key)
        if ranking is None:
            ranking = self._rankings[key] = Ranking(request, policy)
            if len(self._rankings) > self._kinds:
                self._rankings.popitem(last=False)
        else:
            self._rankings.move_to_end(key)
        return ranking
