"""Defines what the state answers to filter and to the first half of bind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from extender.scheduling.fitting.reasons import Misfit
from extender.scheduling.ledger.binding import Plan
from extender.scheduling.ledger.events import PodRecord


@dataclass(frozen=True, slots=True)
class Passed:
    """The pod fits on these nodes, best first; `plan` is what is held for it on the first (None: asks for no GPU)."""

    names: Sequence[str]
    plan: Plan | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """The pod fits on none of the nodes; a constant sentence for each. On those `leaving` it will before long."""

    reasons: Mapping[str, str]
    leaving: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Unavailable:
    """No answer is possible now; kube-scheduler has to try again."""

    message: str


@dataclass(frozen=True, slots=True)
class VictimsTerminating:
    """The pod will fit on its nominated node once pods that were evicted for it are seen gone: ask again at once.

    kube-scheduler's watch may be ahead of the extender's by some milliseconds. `rejected` is why no node takes it now.
    """

    rejected: Mapping[str, Misfit]
    victims: frozenset[str]


FilterOutcome = Passed | Rejected | Unavailable | VictimsTerminating


@dataclass(frozen=True, slots=True)
class Assumed:
    """The GPUs are charged to the pod; the Binding with this plan is to be written now."""

    plan: Plan
    pod: PodRecord


@dataclass(frozen=True, slots=True)
class AlreadyBound:
    """The pod is on this node already."""

    node: str
    has_gpus: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """The pod can't be bound there."""

    message: str


@dataclass(frozen=True, slots=True)
class UnknownPod:
    """Neither the watch nor filter has shown this pod; it has to be read first."""


@dataclass(frozen=True, slots=True)
class NeedsLook:
    """What is known of the node may be old: its pods have to be read first, then the bind begins again."""

    node: str


BindStart = Assumed | AlreadyBound | Refused | UnknownPod | NeedsLook
