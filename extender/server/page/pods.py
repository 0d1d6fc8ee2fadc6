"""Makes the page's rows of waiting pods and of decisions: which pod, what it asks for, what was decided and why."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from extender.contract.units import UnitMib
from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.pods.request import PodRequest
from extender.server.record.decisions import Decided, Decisions
from extender.server.record.sentences import amount, sentence

Why = Callable[[PodRecord], tuple[tuple[str, int], ...]]
"""Why a pod fits nowhere now, with how many nodes each reason is true of; nothing where that is not known."""

MAX_PENDING = 100
MAX_DECISIONS = 30

_WORDS = {
    "bound": ("✓", "placed"),
    "rejected": ("✕", "refused"),
    "not bound": ("!", "not bound"),
    "preempting": ("⇄", "preempting"),
    "moved": ("→", "moved"),
}


@dataclass(frozen=True, slots=True)
class PendingRow:
    """A pod without a node; `reasons` are sentences with how many nodes each is true of (0: no number to show)."""

    namespace: str
    name: str
    asks: str
    reasons: tuple[tuple[str, int], ...]
    since: str


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """A decision in words."""

    at: str
    sign: str
    verdict: str
    namespace: str
    name: str
    text: str


def pending_rows(pods: Sequence[PodRecord], decisions: Decisions, why: Why, unit_mib: UnitMib) -> list[PendingRow]:
    """The waiting pods by priority, highest first, then by name; at most `MAX_PENDING`."""
    ordered = sorted(pods, key=lambda pod: (-pod.priority, pod.namespace, pod.name))
    return [_pending_row(pod, decisions, why, unit_mib) for pod in ordered[:MAX_PENDING]]


def decision_rows(decided: Iterable[Decided], unit_mib: UnitMib) -> list[DecisionRow]:
    """Decisions, in the order given."""
    rows: list[DecisionRow] = []
    for each in decided:
        sign, verdict = _WORDS[each.decision.verdict]
        text = sentence(each.decision, unit_mib)
        rows.append(DecisionRow(each.decision.at, sign, verdict, each.namespace, each.name, text))
    return rows


def asks(request: PodRequest | None, unit_mib: UnitMib) -> str:
    """What a pod asks for: `8 GiB`, `2 GPUs`, `2 x 20 GiB`, with the models that it accepts."""
    if request is None:
        return ""
    parts: list[str] = []
    for demand in request.demands:
        if demand.whole:
            parts.append(f"{demand.gpus} whole GPU{'' if demand.gpus == 1 else 's'}")
        else:
            times = f"{demand.gpus} × " if demand.gpus > 1 else ""
            parts.append(times + amount(demand.units, unit_mib))
    models = [*request.models.accepted, *(f"not {model}" for model in request.models.refused)]
    return " + ".join(parts) + (f" on {', '.join(models)}" if models else "")


def _pending_row(pod: PodRecord, decisions: Decisions, why: Why, unit_mib: UnitMib) -> PendingRow:
    history = decisions.history(pod.uid)
    latest = history.decisions[-1] if history is not None else None
    refusals = [each for each in (history.decisions if history is not None else ()) if each.verdict == "rejected"]
    if pod.request_error:
        reasons: tuple[tuple[str, int], ...] = ((pod.request_error, 0),)
    elif latest is not None and latest.verdict in {"held", "not bound", "preempting"}:
        reasons = ((sentence(latest, unit_mib), 0),)
    else:
        reasons = why(pod)
        if not reasons and latest is not None:
            reasons = tuple(sorted(latest.rejected.items(), key=lambda item: (-item[1], item[0])))
        if not reasons:
            reasons = (("open its explanation; too many kinds of pods wait to show each reason here", 0),)
    since = refusals[0].at if refusals else ""
    return PendingRow(pod.namespace, pod.name, asks(pod.request, unit_mib), reasons, since)
