"""Applies the API server's rules for pods: defaults, validation, binding and deletion.

Sources: k8s.io/kubernetes/pkg/apis/core/v1/defaults.go and validation.go, pkg/registry/core/pod/storage/storage.go,
and the admission plugins Priority and DefaultTolerationSeconds, as far as schedulers and kubelets see their effects.
"""

import re
from collections.abc import Mapping
from typing import Any

from bench.simulated.apiserver.objects.resources import PODS
from bench.simulated.apiserver.objects.statuses import StatusError, conflict, forbidden, invalid, precondition_failed
from extender.contract.quantity import parse_milli_quantity, parse_quantity
from extender.contract.units import ContractError

Body = dict[str, Any]
Causes = list[tuple[str, str]]

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_CONTAINER_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_EVICTIONS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_DONE = ("Succeeded", "Failed")
_BUILT_IN_CLASSES = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}


def is_extended(resource: str) -> bool:
    """Whether a resource is an extended one: with a domain that is not Kubernetes' own."""
    domain, slash, _ = resource.partition("/")
    return bool(slash) and not (domain == "kubernetes.io" or domain.endswith(".kubernetes.io"))


def default_pod(body: Body, priority: int) -> None:
    """Fill in what the API server and its admission plugins add to a new pod, in place."""
    spec = body.setdefault("spec", {})
    for container in _containers(spec):
        _default_container(container)
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    tolerations = spec.setdefault("tolerations", [])
    for key in _EVICTIONS:
        if not any(
            entry.get("key") in (key, None) and entry.get("effect") in ("NoExecute", None) for entry in tolerations
        ):
            tolerations.append({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})
    spec["priority"] = priority
    spec.setdefault("enableServiceLinks", True)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    status: Body = {"phase": "Pending", "qosClass": _qos_class(spec)}
    if spec.get("schedulingGates"):
        gated = "Scheduling is blocked due to non-empty scheduling gates"
        status["conditions"] = [
            {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": gated}
        ]
    body["status"] = status


def _default_container(container: Body) -> None:
    resources = container.setdefault("resources", {})
    for group in ("limits", "requests"):
        if group in resources and isinstance(resources[group], dict):
            resources[group] = {name: str(amount) for name, amount in resources[group].items()}
    limits = resources.get("limits") or {}
    if limits:
        requests = resources.setdefault("requests", {})
        for name, amount in limits.items():
            requests.setdefault(name, amount)
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    container.setdefault("imagePullPolicy", "Always")


def _containers(spec: Mapping[str, Any]) -> list[Body]:
    return [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]


def _qos_class(spec: Mapping[str, Any]) -> str:
    every = [container.get("resources") or {} for container in _containers(spec)]
    named = [
        {name: amount for name, amount in (resources.get(group) or {}).items() if name in ("cpu", "memory")}
        for resources in every
        for group in ("requests", "limits")
    ]
    if not any(named):
        return "BestEffort"
    pairs = list(zip(named[::2], named[1::2], strict=True))
    guaranteed = all(requests == limits and len(limits) == 2 for requests, limits in pairs)
    return "Guaranteed" if guaranteed else "Burstable"


def check_pod(body: Body) -> None:
    """Validate a pod with its defaults filled in.

    Raises:
        ApiError: 422 that lists every broken rule.
    """
    name = str(body["metadata"].get("name", ""))
    causes: Causes = []
    if not _NAME.fullmatch(name):
        causes.append(("metadata.name", f'Invalid value: "{name}": must be a lowercase RFC 1123 subdomain'))
    spec = body["spec"]
    if not spec.get("containers"):
        causes.append(("spec.containers", "Required value"))
    seen: set[str] = set()
    for group in ("initContainers", "containers"):
        for position, container in enumerate(spec.get(group) or []):
            where = f"spec.{group}[{position}]"
            label = str(container.get("name", ""))
            if not _CONTAINER_NAME.fullmatch(label):
                causes.append((f"{where}.name", f'Invalid value: "{label}": must be a lowercase RFC 1123 label'))
            if label in seen:
                causes.append((f"{where}.name", f'Duplicate value: "{label}"'))
            seen.add(label)
            causes += _check_resources(container.get("resources") or {}, f"{where}.resources")
    if causes:
        raise invalid("Pod", name, causes)


def _check_resources(resources: Mapping[str, Any], where: str) -> Causes:
    causes: Causes = []
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for group, amounts in (("limits", limits), ("requests", requests)):
        for name, amount in amounts.items():
            field = f"{where}.{group}[{name}]"
            try:
                milli = parse_milli_quantity(amount)
            except ContractError as error:
                causes.append((field, f'Invalid value: "{amount}": {error}'))
                continue
            if milli < 0:
                causes.append((field, f'Invalid value: "{amount}": must be greater than or equal to 0'))
            elif is_extended(name) and milli % 1000:
                causes.append((field, f'Invalid value: "{amount}": must be an integer'))
    if causes:
        return causes
    for name, amount in requests.items():
        field = f"{where}.requests"
        if is_extended(name) and name not in limits:
            causes.append((f"{where}.limits", "Required value: Limit must be set for non overcommitable resources"))
        elif is_extended(name) and parse_quantity(amount) != parse_quantity(limits[name]):
            causes.append((field, f'Invalid value: "{amount}": must be equal to {name} limit of {limits[name]}'))
        elif name in limits and parse_milli_quantity(amount) > parse_milli_quantity(limits[name]):
            causes.append(
                (field, f'Invalid value: "{amount}": must be less than or equal to {name} limit of {limits[name]}')
            )
    return causes


def check_pod_update(old: Body, new: Body) -> None:
    """Validate that an update changes no more of the spec than Kubernetes allows.

    Raises:
        ApiError: 422 naming the rule.
    """
    if _fixed_part(old["spec"]) != _fixed_part(new["spec"]):
        text = (
            "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
            "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to "
            "existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously "
            "negative)"
        )
        raise invalid("Pod", new["metadata"]["name"], [("spec", text)])
    gates = {gate["name"] for gate in old["spec"].get("schedulingGates") or []}
    if {gate["name"] for gate in new["spec"].get("schedulingGates") or []} - gates:
        text = "Forbidden: only deletion is allowed, but found new scheduling gates"
        raise invalid("Pod", new["metadata"]["name"], [("spec.schedulingGates", text)])


def _fixed_part(spec: Mapping[str, Any]) -> Body:
    free = ("activeDeadlineSeconds", "tolerations", "schedulingGates")
    fixed = {key: value for key, value in spec.items() if key not in free}
    for group in ("containers", "initContainers"):
        if group in fixed:
            fixed[group] = [{**container, "image": ""} for container in fixed[group]]
    return fixed


def bind(pod: Body, binding: Mapping[str, Any], now: str) -> None:
    """Carry out a Binding on a stored pod, in place: node, annotations, labels and condition in one write.

    Raises:
        ApiError: 409 for a failed precondition, or a pod that is bound, gated or being deleted; 422 without a node.
    """
    metadata, wanted = pod["metadata"], binding.get("metadata") or {}
    name = metadata["name"]
    target = binding.get("target") or {}
    if target.get("kind") not in (None, "", "Node"):
        raise invalid(
            "Binding", name, [("target.kind", f'Unsupported value: "{target["kind"]}": supported values: "Node"')]
        )
    if not target.get("name"):
        # The real server returns this error unwrapped.
        raise StatusError(500, "target.name: Required value", reason="")
    for word, field in (("UID", "uid"), ("ResourceVersion", "resourceVersion")):
        if wanted.get(field) and wanted[field] != metadata[field]:
            key = f"{metadata['namespace']}/{name}"
            raise precondition_failed("pods", key, word, wanted[field], metadata[field])
    if metadata.get("deletionTimestamp"):
        raise conflict("pods/binding", name, f"pod {name} is being deleted, cannot be assigned to a host")
    if pod["spec"].get("nodeName"):
        raise conflict("pods/binding", name, f'pod {name} is already assigned to node "{pod["spec"]["nodeName"]}"')
    if pod["spec"].get("schedulingGates"):
        raise conflict("pods/binding", name, f"pod {name} has non-empty .spec.schedulingGates")
    pod["spec"]["nodeName"] = target["name"]
    for group in ("annotations", "labels"):
        if wanted.get(group):
            metadata[group] = {**(metadata.get(group) or {}), **wanted[group]}
    conditions = [entry for entry in pod["status"].get("conditions") or [] if entry.get("type") != "PodScheduled"]
    conditions.append({"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now})
    pod["status"]["conditions"] = conditions


def deletion_grace_s(pod: Mapping[str, Any], asked: int | None) -> int:
    """Seconds that a deleted pod keeps existing: none for one without a node or that has ended."""
    if not pod["spec"].get("nodeName") or pod.get("status", {}).get("phase") in _DONE:
        return 0
    if asked is None:
        asked = int(pod["spec"].get("terminationGracePeriodSeconds", 30))
    return max(0, asked)


def priority_of(name: str, spec: Mapping[str, Any], classes: Mapping[str, Mapping[str, Any]]) -> int:
    """The number behind the priorityClassName of a new pod `name`; without one that of the default class, or 0.

    Raises:
        ApiError: 403 for a class that does not exist, or a number in the spec that is not the class's.
    """
    wanted = spec.get("priorityClassName")
    if wanted in _BUILT_IN_CLASSES:
        priority = _BUILT_IN_CLASSES[wanted]
    elif wanted:
        if wanted not in classes:
            raise forbidden(PODS.plural, name, f"no PriorityClass with name {wanted} was found")
        priority = int(classes[wanted].get("value", 0))
    else:
        priority = next((int(entry["value"]) for entry in classes.values() if entry.get("globalDefault")), 0)
    if spec.get("priority") not in (None, priority):
        given = f"the integer value of priority ({spec['priority']}) must not be provided in pod spec"
        computed = f"priority admission controller computed {priority} from the given PriorityClass name"
        raise forbidden(PODS.plural, name, f"{given}; {computed}")
    return priority
