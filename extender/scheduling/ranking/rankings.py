"""Keeps the rankings of the kinds of request that were asked about lately, within a bound on memory."""

from collections import OrderedDict, deque
from collections.abc import Mapping

from extender.scheduling.learning.weights import Weights
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Policy
from extender.scheduling.policies.table import POLICIES, policies_with
from extender.scheduling.ranking.looks import READ_ALL, Changing, Groups, full_look_of
from extender.scheduling.ranking.ranking import Ranking

ENTRIES = 400_000
"""Answers that are remembered in all; each takes about 130 bytes. A kind of request has one per look of a node."""


class Rankings:
    """Rankings per kind of request and policy; the kinds asked longest ago are dropped beyond `entries` answers.

    A policy must be hashable, and equal only to its like: one with other weights is another policy.
    """

    def __init__(self, entries: int = ENTRIES) -> None:
        if entries < 1:
            raise ValueError(f"entries is {entries}, expected at least 1")
        self._most = entries
        self._looks = Groups()
        self._full_looks = Groups(full_look_of)
        self._rankings: OrderedDict[tuple[PodRequest, Policy], Ranking] = OrderedDict()
        self._due: deque[Ranking] = deque()

    def of(self, request: PodRequest, policy: Policy) -> Ranking:
        """The ranking of this kind of request, empty at first."""
        key = (request, policy)
        ranking = self._rankings.get(key)
        if ranking is None:
            self._shrink()
            ranking = self._rankings[key] = self._empty(request, policy)
        else:
            self._rankings.move_to_end(key)
        return ranking

    def _empty(self, request: PodRequest, policy: Policy) -> Ranking:
        return Ranking(request, policy, self._full_looks if policy.name in READ_ALL else self._looks)

    def _shrink(self) -> None:
        """Make room for one more of the largest size."""
        sizes = [ranking.entries for ranking in self._rankings.values()]
        surplus = sum(sizes) + max(sizes, default=0) - self._most
        while surplus > 0 and self._rankings:
            _, ranking = self._rankings.popitem(last=False)
            surplus -= ranking.entries

    def follow(self, cluster: Changing) -> None:
        """Group the nodes now, so that the next call need not: after a list that is most of the work."""
        self._looks.follow(cluster)

    def under(self, policies: Mapping[str, Policy]) -> "Rankings":
        """The kinds known here, to be ranked by other policies of the same names; nothing is computed yet."""
        other = Rankings(self._most)
        other._looks, other._full_looks = self._looks, self._full_looks
        for request, policy in self._rankings:
            new = policies[policy.name]
            other._rankings[request, new] = other._empty(request, new)
        other._due = deque(other._rankings.values())
        return other

    def prepare(self, cluster: Changing, most: int) -> bool:
        """Compute at most about `most` answers of those that were due after `under`; whether all have been computed.

        What changes after a kind had its turn is left to the call that asks about it next, as always.
        """
        while self._due:
            ranking = self._due[0]
            before = ranking.entries
            if not ranking.catch_up(cluster, most):
                return False
            most -= ranking.entries - before
            self._due.popleft()
            if most <= 0:
                break
        return not self._due


class InForce:
    """`policies` by name, and the `rankings` of their answers; its owner serializes all calls."""

    def __init__(self, policies: Mapping[str, Policy] = POLICIES, rankings: Rankings | None = None) -> None:
        self.policies = policies
        self.rankings = rankings if rankings is not None else Rankings()

    def under(self, weights: Weights) -> "InForce":
        """The policies as they are with these weights; for the kinds of request known here, nothing is computed yet."""
        policies = policies_with(weights)
        return InForce(policies, self.rankings.under(policies))

    def prepare(self, cluster: Changing, most: int) -> bool:
        """Compute at most `most` answers of those that are due; whether all have been computed."""
        return self.rankings.prepare(cluster, most)
