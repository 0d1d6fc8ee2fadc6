"""Filters from scratch: fits the request on every node asked about, one by one, as the oracle of the ranked filter."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from extender.scheduling.fitting.fitting import Fit, fit
from extender.scheduling.fitting.reasons import Misfit
from extender.scheduling.nodes.snapshot import Snapshot
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Policy
from extender.scheduling.ranking.ranking import Feasible


@dataclass(frozen=True)
class NaiveFiltered:
    """Every node asked about is in exactly one of the two; both in the order asked."""

    feasible: tuple[Feasible, ...]
    rejected: Mapping[str, Misfit]

    def best(self, count: int) -> tuple[Feasible, ...]:
        """The `count` nodes of lowest cost, best first; ties by name."""
        return tuple(sorted(self.feasible, key=lambda one: (one.fit.cost, one.node))[:count])


def filter_from_scratch(snapshot: Snapshot, names: Iterable[str], request: PodRequest, policy: Policy) -> NaiveFiltered:
    """Fit `request` on each node of `names`; a name twice counts once."""
    feasible: list[Feasible] = []
    rejected: dict[str, Misfit] = {}
    for name in dict.fromkeys(names):
        node = snapshot.nodes.get(name)
        answer = Misfit.UNKNOWN_NODE if node is None else fit(node, request, policy)
        if isinstance(answer, Fit):
            feasible.append(Feasible(name, answer))
        else:
            rejected[name] = answer
    return NaiveFiltered(tuple(feasible), rejected)
