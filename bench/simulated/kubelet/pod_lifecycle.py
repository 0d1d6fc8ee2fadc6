"""Builds the pod status that the kubelet writes, and reads what a pod's annotations ask of the simulation.

A simulated container does nothing. Annotations say for how long: `simulated.gpupack.io/run-seconds` until all app
containers exit by themselves, `simulated.gpupack.io/stop-seconds` until they exit after they were told to stop.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bench.simulated.pod_demand import is_sidecar, pod_demand

Body = dict[str, Any]
RUN_ANNOTATION = "simulated.gpupack.io/run-seconds"
STOP_ANNOTATION = "simulated.gpupack.io/stop-seconds"
_DONE = ("Succeeded", "Failed")


def is_done(pod: Mapping[str, Any]) -> bool:
    """Whether a pod has ended for good."""
    return pod.get("status", {}).get("phase") in _DONE


def seconds_in(pod: Mapping[str, Any], annotation: str) -> float | None:
    """The seconds that an annotation asks for; None without one, or with one that is no number of 0 or more."""
    text = (pod["metadata"].get("annotations") or {}).get(annotation)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if value >= 0 and math.isfinite(value) else None


def running_status(pod: Mapping[str, Any], now: str) -> Body:
    """All containers run, plain init containers have ended well."""
    conditions = [_condition(kind, "True", now) for kind in ("Initialized", "ContainersReady", "Ready")]
    running = {"running": {"startedAt": now}}
    return _status(pod, "Running", conditions, running, now)


def ended_status(pod: Mapping[str, Any], now: str, *, exit_code: int) -> Body:
    """All containers have ended, by themselves (exit code 0) or because they were told to."""
    conditions = [_condition(kind, "False", now) for kind in ("ContainersReady", "Ready")]
    reason = "Completed" if exit_code == 0 else "Error"
    ended = {"terminated": {"exitCode": exit_code, "reason": reason, "finishedAt": now}}
    return _status(pod, "Succeeded" if exit_code == 0 else "Failed", conditions, ended, now)


def rejected_status(reason: str, message: str) -> Body:
    """The kubelet refused to admit the pod; it stays Failed for good."""
    return {"phase": "Failed", "reason": reason, "message": f"Pod was rejected: {message}"}


def _status(pod: Mapping[str, Any], phase: str, conditions: list[Body], state: Body, now: str) -> Body:
    spec = pod["spec"]
    completed = {"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": now}}
    status: Body = {
        "phase": phase,
        "conditions": conditions,
        "containerStatuses": [_container(entry, state) for entry in spec["containers"]],
    }
    if spec.get("initContainers"):
        status["initContainerStatuses"] = [
            _container(entry, state if is_sidecar(entry) else completed) for entry in spec["initContainers"]
        ]
    if phase == "Running":
        status["startTime"] = now
    return status


def _container(container: Mapping[str, Any], state: Body) -> Body:
    running = "running" in state
    return {
        "name": container["name"],
        "image": container.get("image", ""),
        "imageID": "",
        "ready": running,
        "started": running,
        "restartCount": 0,
        "state": state,
    }


def _condition(kind: str, status: str, now: str) -> Body:
    return {"type": kind, "status": status, "lastProbeTime": None, "lastTransitionTime": now}


def lacking(
    pod: Mapping[str, Any], others: Sequence[Mapping[str, Any]], allocatable: Mapping[str, int]
) -> tuple[str, str] | None:
    """Reason and message when a node with `others` on it has no room for a pod; None when it has.

    Resources that the node does not name are not looked at, as in the kubelet; cpu counts in thousandths.
    """
    demand = {**pod_demand(pod["spec"]), "pods": 1}
    used: dict[str, int] = {"pods": len(others)}
    for other in others:
        for name, amount in pod_demand(other["spec"]).items():
            used[name] = used.get(name, 0) + amount
    for name, amount in demand.items():
        if amount and name in allocatable and used.get(name, 0) + amount > allocatable[name]:
            counts = f"requested: {amount}, used: {used.get(name, 0)}, capacity: {allocatable[name]}"
            return f"OutOf{name}", f"Node didn't have enough resource: {name}, {counts}"
    return None
