"""Counts the evictions that PodDisruptionBudgets do not allow.

Follows filterPodsWithPDBViolation in kube-scheduler (pkg/scheduler/framework/plugins/defaultpreemption), with one
difference: a selector without requirements protects every pod of the namespace, as it does for evictions (policy/v1).
kube-scheduler takes it for one that protects none.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from msgspec import Struct

from extender.contract.expressions import Expression
from extender.scheduling.ledger.events import PodRecord

_decode_labels = msgspec.json.Decoder(dict[str, str] | None).decode


class Budget(Struct, frozen=True, gc=False):
    """One PodDisruptionBudget: evictions that it `allows` now of the pods that meet all `requirements`.

    `disrupted` names pods whose eviction it has counted already.
    """

    uid: str
    namespace: str
    requirements: tuple[Expression, ...] = ()
    allows: int = 0
    disrupted: frozenset[str] = frozenset()

    def counts(self, pod: PodRecord, labels: Mapping[str, str]) -> bool:
        """Whether evicting this pod takes from the budget."""
        return (
            pod.namespace == self.namespace
            and pod.name not in self.disrupted
            and all(one.holds(labels) for one in self.requirements)
        )


def budgets_of(pod: PodRecord, budgets: Sequence[Budget]) -> tuple[int, ...]:
    """Positions of the budgets that evicting the pod takes from."""
    if not budgets:
        return ()
    labels = (_decode_labels(pod.labels) if pod.labels else None) or {}
    return tuple([at for at, budget in enumerate(budgets) if budget.counts(pod, labels)])


def violations(taken: Iterable[Sequence[int]], budgets: Sequence[Budget]) -> list[bool]:
    """For pods evicted in this order, each with the budgets that it takes from, whether one of these was used up."""
    left = [budget.allows for budget in budgets]
    found: list[bool] = []
    for positions in taken:
        violated = False
        for at in positions:
            left[at] -= 1
            violated = violated or left[at] < 0
        found.append(violated)
    return found
