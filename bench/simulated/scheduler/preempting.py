"""Chooses victims as kube-scheduler's DefaultPreemption does: on which node, and which pods.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/defaultpreemption and framework/preemption, without
PodDisruptionBudgets. As there, only the native filters say whether room was made, so a node that has native room gives
no victims and never becomes a candidate. Pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from bench.simulated.scheduler.native_fit import NodeState, PodView, misfit

Victims = Mapping[str, Sequence[PodView]]


def victims_on(pod: PodView, node: NodeState) -> list[PodView]:
    """The pods of lower priority that must leave so that `pod` fits, as few as possible; empty when none would help."""
    lower = [other for other in node.pods.values() if other.priority < pod.priority]
    trial = replace(node, pods=dict(node.pods), used=dict(node.used))
    for other in lower:
        trial.remove(other.uid)
    if not lower or misfit(pod, trial) is not None:
        return []
    victims = []
    # The most important ones are given back first: highest priority, then longest running.
    for other in sorted(lower, key=lambda each: (-each.priority, _started(each))):
        trial.add(other)
        if misfit(pod, trial) is not None:
            trial.remove(other.uid)
            victims.append(other)
    return victims


def candidates(pod: PodView, nodes: Iterable[NodeState]) -> dict[str, list[PodView]]:
    """Every node where an eviction makes native room, with the victims."""
    found = {node.name: victims_on(pod, node) for node in nodes}
    return {name: victims for name, victims in found.items() if victims}


def choose(victims: Victims) -> str:
    """The node to take: lowest highest priority of a victim, lowest sum, fewest, latest start, first by name.

    Raises:
        ValueError: no node is left.
    """
    if not victims:
        raise ValueError("victims: expected at least one node")
    return min(sorted(victims), key=lambda name: _cost(victims[name]))


def _cost(victims: Sequence[PodView]) -> tuple[int, int, int]:
    if not victims:
        return (-(2**31), 0, 0)
    # Offset as in the original, so that more victims never make a smaller sum.
    return (
        max(victim.priority for victim in victims),
        sum(victim.priority + 2**31 for victim in victims),
        len(victims),
    )


def _started(pod: PodView) -> str:
    return str(pod.body.get("status", {}).get("startTime") or "9")
