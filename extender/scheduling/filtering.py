"""Filters the nodes that kube-scheduler asks about: the best of those on which a pod fits, or why it fits on none."""

from collections.abc import Collection, Mapping

from msgspec import Struct

from extender.scheduling.fitting.reasons import Misfit
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Policy
from extender.scheduling.ranking.looks import Changing
from extender.scheduling.ranking.ranking import Ranked
from extender.scheduling.ranking.rankings import Rankings


class Filtered(Struct, frozen=True, gc=False):
    """The nodes on which the pod fits, ranked, or the reason of every node asked about when it fits on none."""

    ranked: Ranked
    rejected: Mapping[str, Misfit] = {}


def filter_nodes(
    rankings: Rankings, cluster: Changing, names: Collection[str], request: PodRequest, policy: Policy, *, answers: int
) -> Filtered:
    """Rank the at most `answers` best of `names` for `request`; equal costs by name, and a name twice counts once.

    The answers are those of `fit` on the cluster as it is now; `rankings` remembers them from call to call.
    """
    ranking = rankings.of(request, policy)
    ranked = ranking.best(cluster, names, answers)
    return Filtered(ranked) if ranked.first is not None else Filtered(ranked, ranking.refusals(cluster, names))
