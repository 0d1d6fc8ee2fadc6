"""Counts the evictions that PodDisruptionBudgets do not allow.

Follows filterPodsWithPDBViolation in kube-scheduler (pkg/scheduler/framework/plugins/defaultpreemption), with one
difference: a selector without requirements protects every pod of the namespace, as it does for evictions (policy/v1).
kube-scheduler takes it for one that protects none.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

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


class Allowances(Struct, frozen=True, gc=False):
    """How many evictions the budgets of a few pods still allow, and from which of them each pod takes, by UID.

    Budgets that can make no difference among these pods are left out.
    """

    allows: tuple[int, ...] = ()
    taken: Mapping[str, tuple[int, ...]] = MappingProxyType({})

    def of(self, uid: str) -> tuple[int, ...]:
        """Positions in `allows` of the budgets that evicting the pod takes from."""
        return self.taken.get(uid, ())


class Protection:
    """Says which budgets protect a pod; labels are matched once for all pods that have the same."""

    def __init__(self, budgets: Sequence[Budget]) -> None:
        self._budgets = budgets
        self._by_label: dict[tuple[str, str, str], list[int]] = {}
        self._others: dict[str, list[int]] = {}
        self._disrupted: dict[tuple[str, str], set[int]] = {}
        self._matched: dict[tuple[str, bytes], tuple[int, ...]] = {}
        for at, budget in enumerate(budgets):
            needed = next((one for one in budget.requirements if one.operator == "In"), None)
            if needed is None:
                self._others.setdefault(budget.namespace, []).append(at)
            else:
                for value in set(needed.values):
                    self._by_label.setdefault((budget.namespace, needed.key, value), []).append(at)
            for name in budget.disrupted:
                self._disrupted.setdefault((budget.namespace, name), set()).add(at)

    def of(self, pod: PodRecord) -> tuple[int, ...]:
        """Positions of the budgets that evicting the pod takes from."""
        key = pod.namespace, pod.labels
        matched = self._matched.get(key)
        if matched is None:
            matched = self._matched[key] = self._match(pod)
        counted = self._disrupted.get((pod.namespace, pod.name))
        return tuple([at for at in matched if at not in counted]) if counted else matched

    def _match(self, pod: PodRecord) -> tuple[int, ...]:
        labels = (_decode_labels(pod.labels) if pod.labels else None) or {}
        found = list(self._others.get(pod.namespace, ()))
        for label, value in labels.items():
            found += self._by_label.get((pod.namespace, label, value), ())
        budgets = self._budgets
        return tuple([at for at in sorted(found) if all(one.holds(labels) for one in budgets[at].requirements)])

    def among(self, pods: Iterable[PodRecord]) -> Allowances:
        """What counts when nobody but these pods is evicted.

        Of budgets that protect the very same pods the strictest counts; one that allows to evict all of its pods never.
        """
        groups: dict[tuple[int, ...], list[str]] = {}
        for pod in pods:
            positions = self.of(pod)
            if positions:
                groups.setdefault(positions, []).append(pod.uid)
        protects: dict[int, tuple[int, int]] = {}
        for group, (positions, uids) in enumerate(groups.items()):
            for at in positions:
                which, members = protects.get(at, (0, 0))
                protects[at] = which | 1 << group, members + len(uids)
        strictest: dict[int, int] = {}
        for at, (which, members) in protects.items():
            allows = self._budgets[at].allows
            if allows < min(members, strictest.get(which, members)):
                strictest[which] = allows
        taken = {
            uid: tuple([at for at, which in enumerate(strictest) if which >> group & 1])
            for group, uids in enumerate(groups.values())
            for uid in uids
        }
        return Allowances(tuple(strictest.values()), taken)


def violations(taken: Iterable[Sequence[int]], allows: Sequence[int]) -> list[bool]:
    """For pods evicted in this order, each with the budgets that it takes from, whether one of these was used up."""
    left = list(allows)
    found: list[bool] = []
    for positions in taken:
        violated = False
        for at in positions:
            left[at] -= 1
            violated = violated or left[at] < 0
        found.append(violated)
    return found
