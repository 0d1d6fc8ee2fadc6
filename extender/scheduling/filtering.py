"""Filters the nodes that kube-scheduler asks about: the best of those on which a pod fits, or why it fits on none."""

from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from extender.scheduling.avoiding import levels
from extender.scheduling.fitting.reasons import Misfit
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Policy
from extender.scheduling.ranking.looks import Changing
from extender.scheduling.ranking.ranking import Ranked, Ranking
from extender.scheduling.ranking.rankings import Rankings

_NO_STRIKES: Mapping[str, int] = {}


class Filtered(Struct, frozen=True, gc=False):
    """The nodes on which the pod fits, ranked, or the reason of every node asked about when it fits on none.

    `avoided` nodes come after the first one for the failures of pods there.
    """

    ranked: Ranked
    rejected: Mapping[str, Misfit] = {}
    avoided: int = 0


def filter_nodes(
    rankings: Rankings,
    cluster: Changing,
    names: Collection[str],
    request: PodRequest,
    policy: Policy,
    *,
    answers: int,
    strikes: Mapping[str, int] = _NO_STRIKES,
) -> Filtered:
    """Rank the at most `answers` best of `names` for `request`; equal costs by name, and a name twice counts once.

    The answers are those of `fit` on the cluster as it is now; `rankings` remembers them from call to call. Nodes come
    after all others that have fewer `strikes`, which are failures of pods there.
    """
    ranking = rankings.of(request, policy)
    if not strikes or strikes.keys().isdisjoint(names):
        ranked = ranking.best(cluster, names, answers)
        return Filtered(ranked) if ranked.first is not None else Filtered(ranked, ranking.refusals(cluster, names))
    return _by_strikes(ranking, cluster, levels(names, strikes), answers)


def _by_strikes(ranking: Ranking, cluster: Changing, by_strikes: Sequence[Collection[str]], answers: int) -> Filtered:
    """Rank level by level until there are enough answers."""
    first: Ranked | None = None
    names: list[str] = []
    avoided = 0
    rejected: dict[str, Misfit] = {}
    for level in by_strikes:
        if first is not None:
            avoided += len(level)
            if len(names) == answers:
                continue
        ranked = ranking.best(cluster, level, answers - len(names))
        names += ranked.names
        if first is None and ranked.first is not None:
            first = ranked
        rejected |= ranking.refusals(cluster, level) if first is None else {}
    if first is None:
        return Filtered(ranking.best(cluster, (), answers), rejected)
    return Filtered(replace(first, names=tuple(names)), avoided=avoided)
