"""Decodes the JSON of PodDisruptionBudgets into what preemption counts with."""

import msgspec

from extender.contract.expressions import Expression
from extender.kube.objects import Camel, Identity, NodeSelectorRequirement, reader_of
from extender.scheduling.preempting.budgets import Budget

_NOBODY = (Expression("", "nothing has an operator of this name"),)


class _LabelSelector(Camel):
    """LabelSelector; `match_expressions` have the form of a node selector's."""

    match_labels: dict[str, str] | None = None
    match_expressions: list[NodeSelectorRequirement] | None = None


class _BudgetSpec(Camel):
    """PodDisruptionBudgetSpec."""

    selector: _LabelSelector | None = None


class _BudgetStatus(Camel):
    """PodDisruptionBudgetStatus; `disrupted_pods` has names of pods."""

    disruptions_allowed: int = 0
    disrupted_pods: dict[str, msgspec.Raw] | None = None


class _BudgetObject(Camel):
    """PodDisruptionBudget (policy/v1)."""

    metadata: Identity
    spec: _BudgetSpec = msgspec.field(default_factory=_BudgetSpec)
    status: _BudgetStatus = msgspec.field(default_factory=_BudgetStatus)


_read = reader_of(_BudgetObject)


def decode_budget(raw: bytes | msgspec.Raw) -> Budget:
    """A budget of the watch.

    Raises:
        DecodeError: not a PodDisruptionBudget.
    """
    found = _read(raw)
    selector, status = found.spec.selector, found.status
    return Budget(
        uid=found.metadata.uid,
        namespace=found.metadata.namespace,
        # Without a selector it protects nobody, with an empty one everybody.
        requirements=_NOBODY if selector is None else _requirements(selector),
        allows=status.disruptions_allowed,
        disrupted=frozenset(status.disrupted_pods or ()),
    )


def _requirements(selector: _LabelSelector) -> tuple[Expression, ...]:
    exact = [Expression(key, "In", (value,)) for key, value in sorted((selector.match_labels or {}).items())]
    others = [Expression(one.key, one.operator, tuple(one.values or ())) for one in selector.match_expressions or ()]
    return (*exact, *others)
