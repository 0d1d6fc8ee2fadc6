"""kube-scheduler's filters on taints, node selector and node affinity, told a second time from the objects' JSON."""

from collections.abc import Mapping
from typing import Any

_CORDON = {"key": "node.kubernetes.io/unschedulable", "value": "", "effect": "NoSchedule"}


def admits(node: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    """Whether NodeUnschedulable, TaintToleration and NodeAffinity let the pod pass."""
    spec, tolerations = pod["spec"], pod["spec"].get("tolerations") or []
    taints = [taint for taint in node["spec"].get("taints") or [] if taint["effect"] != "PreferNoSchedule"]
    if node["spec"].get("unschedulable"):
        taints.append(_CORDON)
    labels = node["metadata"].get("labels") or {}
    return all(any(_tolerates(one, taint) for one in tolerations) for taint in taints) and _selected(spec, labels)


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect", "") not in ("", taint["effect"]):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key", "") in ("", taint["key"])
    return bool(toleration.get("key") == taint["key"] and toleration.get("value", "") == taint.get("value", ""))


def _selected(spec: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    return affinity is None or any(
        all(_holds(one, labels) for one in term["matchExpressions"]) for term in affinity["nodeSelectorTerms"]
    )


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values", [])
    return {
        "In": value in values,
        "NotIn": value not in values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }[expression["operator"]]
