"""Words a decision: the fields of its log line, and the type, reason and sentence of its Event."""

from collections.abc import Mapping
from typing import Any

from extender.contract.units import UnitMib
from extender.kube.events import News
from extender.server.record.decisions import Decided, Decision

PLACED = "GpupackPlaced"
UNPLACEABLE = "GpupackUnplaceable"
NOT_BOUND = "GpupackNotBound"
PREEMPTING = "GpupackPreempting"
MOVED = "GpupackMoved"

_REASONS = {
    "bound": ("Normal", PLACED),
    "rejected": ("Warning", UNPLACEABLE),
    "not bound": ("Warning", NOT_BOUND),
    "preempting": ("Normal", PREEMPTING),
    "moved": ("Normal", MOVED),
}
_NODES_SHOWN = 3


def news_of(decided: Decided, message: str) -> News:
    """The Event of a decision, with its sentence."""
    level, reason = _REASONS[decided.decision.verdict]
    return News(decided.namespace, decided.name, decided.uid, level, reason, message)


def line_of(decided: Decided, unit_mib: UnitMib) -> dict[str, Any]:
    """The fields of a decision's log line; those without a value are left out."""
    decision = decided.decision
    runner_up = decision.runner_up
    fields = {
        "verdict": decision.verdict,
        "reason": _REASONS[decision.verdict][1],
        "namespace": decided.namespace,
        "pod": decided.name,
        "uid": decided.uid,
        "at": decision.at,
        "node": decision.node,
        "gpus": decision.gpus,
        "unitMib": unit_mib if decision.gpus else None,
        "policy": decision.policy,
        "cost": list(decision.cost),
        "runnerUp": {"node": runner_up.node, "cost": list(runner_up.cost)} if runner_up is not None else None,
        "feasible": decision.feasible,
        "rejected": decision.rejected,
        "victims": decision.victims,
        "message": decision.message,
    }
    return {key: value for key, value in fields.items() if value}


def sentence(decision: Decision, unit_mib: UnitMib) -> str:
    """What was decided and why, for people."""
    match decision.verdict:
        case "bound":
            return f"{_gpus(decision, unit_mib)} on {decision.node}. {_why_there(decision)}"
        case "rejected":
            nodes = sum(decision.rejected.values())
            return decision.message or f"Fits on none of {_count(nodes, 'node')}: {_counted(decision.rejected)}."
        case "preempting":
            return _evictions(decision.victims)
        case "not bound":
            return f"Not bound to {decision.node}: {decision.message}"
        case "moved":
            return f"On {decision.node} {decision.message}"
    return "Memory is held for the pod; kube-scheduler has not bound it yet."


def amount(units: int, unit_mib: UnitMib) -> str:
    """`8 GiB`, `0.75 GiB`."""
    return f"{units * unit_mib / 1024:g} GiB"


def _gpus(decision: Decision, unit_mib: UnitMib) -> str:
    parts = [
        f"{container} gets " + " and ".join(f"{amount(units, unit_mib)} of {uuid}" for uuid, units in gpus.items())
        for container, gpus in decision.gpus.items()
    ]
    return ", ".join(parts)


def _why_there(decision: Decision) -> str:
    if not decision.feasible:
        return f"Policy {decision.policy} chose the GPUs at bind."
    if decision.runner_up is None:
        why = f"It fits on {_count(decision.feasible, 'node')} (policy {decision.policy})."
    else:
        tie = " (equal: by name)" if decision.runner_up.cost == decision.cost else ""
        why = (
            f"Policy {decision.policy} took the best of {_count(decision.feasible, 'node')}: "
            f"cost {_cost(decision.cost)}, next {decision.runner_up.node} {_cost(decision.runner_up.cost)}{tie}."
        )
    return f"{why} Elsewhere: {_counted(decision.rejected)}." if decision.rejected else why


def _cost(cost: tuple[float, ...]) -> str:
    return "/".join(f"{part:.4g}" for part in cost)


def _counted(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {text}" for text, count in ordered) or "there are none"


def _evictions(victims: Mapping[str, tuple[str, ...]]) -> str:
    shown = [f"{name} ({_count(len(uids), 'pod')})" for name, uids in list(victims.items())[:_NODES_SHOWN]]
    more = f" and {len(victims) - _NODES_SHOWN} more" if len(victims) > _NODES_SHOWN else ""
    return f"Evicting pods makes room on {', '.join(shown)}{more}; kube-scheduler picks one node."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
