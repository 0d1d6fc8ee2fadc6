"""Prioritizes: scores the nodes that passed filter with whole numbers between 0 and 10.

kube-scheduler adds score x weight x 10 to its own plugins' scores and does not clamp (pkg/scheduler/extender.go), and a
fraction makes it drop the whole answer. Costs of a policy do not survive such a scale, their order does: the best node
gets 10, the worst 0, equal costs get equal scores.
"""

from collections.abc import Iterable, Mapping

from extender.scheduling.policies.policy import Cost

MAX_SCORE = 10


def prioritize(costs: Mapping[str, Cost], names: Iterable[str]) -> list[tuple[str, int]]:
    """Scores of `names`, in that order; a node without a cost, on which the pod does not fit, gets 0."""
    ranks = {cost: rank for rank, cost in enumerate(sorted(set(costs.values())))}
    worst = max(1, len(ranks) - 1)
    scores: list[tuple[str, int]] = []
    for name in names:
        cost = costs.get(name)
        scores.append((name, 0 if cost is None else MAX_SCORE - MAX_SCORE * ranks[cost] // worst))
    return scores
