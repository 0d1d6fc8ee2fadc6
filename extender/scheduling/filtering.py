"""Filter: from a snapshot, the nodes asked about and a request to the best nodes, or the reason of each refusal."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from heapq import nsmallest

from extender.scheduling.fitting.fitting import Fit, fit
from extender.scheduling.fitting.reasons import Misfit
from extender.scheduling.nodes.snapshot import Snapshot
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Policy


@dataclass(frozen=True, slots=True)
class Feasible:
    """A node on which the pod fits, and how."""

    node: str
    fit: Fit


@dataclass(frozen=True, slots=True)
class Filtered:
    """Every node asked about is in exactly one of the two; both in the order asked."""

    feasible: tuple[Feasible, ...] = ()
    rejected: Mapping[str, Misfit] = field(default_factory=dict)

    def best(self, count: int) -> tuple[Feasible, ...]:
        """The `count` nodes of lowest cost, best first; ties by name."""
        if count == 1 and self.feasible:
            return (min(self.feasible, key=_rank),)
        return tuple(nsmallest(count, self.feasible, key=_rank))


def _rank(candidate: Feasible) -> tuple[tuple[float, ...], str]:
    return candidate.fit.cost, candidate.node


def filter_nodes(snapshot: Snapshot, names: Iterable[str], request: PodRequest, policy: Policy) -> Filtered:
    """Fit `request` on each node of `names`, from scratch; a name twice counts once."""
    feasible: list[Feasible] = []
    rejected: dict[str, Misfit] = {}
    nodes = snapshot.nodes
    for name in dict.fromkeys(names):
        node = nodes.get(name)
        if node is None:
            rejected[name] = Misfit.UNKNOWN_NODE
            continue
        answer = fit(node, request, policy)
        if isinstance(answer, Fit):
            feasible.append(Feasible(name, answer))
        else:
            rejected[name] = answer
    return Filtered(tuple(feasible), rejected)
