"""Words a decision: the fields of its log line, and the type, reason and sentence of its Event."""

from collections.abc import Mapping
from typing import Any

from extender.contract.units import GpuUuid, UnitMib, Units
from extender.kube.events import News, node_news
from extender.scheduling.avoiding import REMEMBERED_S, Failed, NodeFailure
from extender.server.record.decisions import Decided, Decision

PLACED = "GpupackPlaced"
UNPLACEABLE = "GpupackUnplaceable"
NOT_BOUND = "GpupackNotBound"
PREEMPTING = "GpupackPreempting"
MOVED = "GpupackMoved"
NODE_AVOIDED = "GpupackNodeAvoided"

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


def news_of_failure(failure: NodeFailure) -> News:
    """The Event on a node where a pod failed at once; the same for all pods that fail there for that reason."""
    why = "The kubelet refuses pods" if failure.how is Failed.REFUSED else "Pods fail right after they were bound"
    whose = "" if failure.how is Failed.REFUSED else " for pods of the same owner"
    text = f"{why} here ({failure.reason}). gpupack prefers other nodes{whose} for {REMEMBERED_S / 60:.0f} minutes."
    return node_news(failure.node, "Warning", NODE_AVOIDED, text)


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
        "avoided": decision.avoided,
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
            return decision.message or _fits_nowhere(decision.rejected)
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
    def what(gpus: Mapping[GpuUuid, Units]) -> str:
        if gpus and all(uuid in decision.whole for uuid in gpus):
            uuids = ", ".join(gpus)
            return f"all of {uuids}" if len(gpus) == 1 else f"all of {len(gpus)} GPUs ({uuids})"
        if len(gpus) > 1 and len(set(gpus.values())) == 1:
            return f"{amount(next(iter(gpus.values())), unit_mib)} on each of {len(gpus)} GPUs ({', '.join(gpus)})"
        return " and ".join(f"{amount(units, unit_mib)} of {uuid}" for uuid, units in gpus.items())

    return ", ".join(f"{container} gets {what(gpus)}" for container, gpus in decision.gpus.items())


def _why_there(decision: Decision) -> str:
    if not decision.feasible:
        return f"Policy {decision.policy} chose the GPUs at bind."
    if decision.runner_up is None:
        only = "only " if decision.feasible == 1 else ""
        why = f"It fits on {only}{_count(decision.feasible, 'node')} (policy {decision.policy})."
    else:
        cost, other = _cost(decision.cost), _cost(decision.runner_up.cost)
        second = f"also {other} (tie broken by name)" if decision.runner_up.cost == decision.cost else other
        why = (
            f"Policy {decision.policy} took the best of {_count(decision.feasible, 'node')}: "
            f"cost {cost}; runner-up {decision.runner_up.node}, {second}."
        )
    if decision.rejected:
        why = f"{why} Other nodes: {_counted(decision.rejected)}."
    if decision.avoided:
        why = f"{why} {_count(decision.avoided, 'node')} avoided, because pods failed there in the last minutes."
    return why


def _cost(cost: tuple[float, ...]) -> str:
    return "/".join(f"{part:.4g}" for part in cost)


def _counted(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{text} ({count})" for text, count in ordered)


def _fits_nowhere(rejected: Mapping[str, int]) -> str:
    nodes = sum(rejected.values())
    if not nodes:
        return "Does not fit: kube-scheduler offered no node."
    if nodes == 1:
        return f"Does not fit on the 1 node that kube-scheduler offered: {next(iter(rejected))}."
    return f"Does not fit on any of the {nodes} nodes that kube-scheduler offered: {_counted(rejected)}."


def _evictions(victims: Mapping[str, tuple[str, ...]]) -> str:
    shown = [f"{name} ({_count(len(uids), 'pod')})" for name, uids in list(victims.items())[:_NODES_SHOWN]]
    more = f" and {len(victims) - _NODES_SHOWN} more" if len(victims) > _NODES_SHOWN else ""
    return f"Evicting pods makes room on {', '.join(shown)}{more}; kube-scheduler picks one node."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
