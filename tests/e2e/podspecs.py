"""Builds the pods that the end-to-end tests create, from what they ask for."""

from collections.abc import Mapping
from typing import Any

IDLE_IMAGE = "localhost/idle:1"


def container(
    name: str = "main",
    limits: Mapping[str, str | int] | None = None,
    arguments: tuple[str, ...] = (),
    restart_policy: str | None = None,
) -> dict[str, Any]:
    """A container that prints its environment and idles; `arguments` are those of kubernetes/node/idle.

    `restart_policy` "Always" makes an init container a sidecar.
    """
    quantities = {resource: str(amount) for resource, amount in (limits or {}).items()}
    spec: dict[str, Any] = {
        "name": name,
        "image": IDLE_IMAGE,
        "imagePullPolicy": "Never",
        "args": list(arguments),
        "resources": {"limits": quantities, "requests": quantities},
    }
    if restart_policy is not None:
        spec["restartPolicy"] = restart_policy
    return spec


def pod(
    name: str,
    *containers: dict[str, Any],
    init_containers: tuple[dict[str, Any], ...] = (),
    annotations: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """A pod on the host's network (the only one there is) that is not restarted and ends within a second.

    `spec` adds to the pod's spec, or replaces: `schedulerName="second"`, `priorityClassName="high"`.
    """
    return {
        "metadata": {"name": name, "annotations": dict(annotations or {}), "labels": dict(labels or {})},
        "spec": {
            "hostNetwork": True,
            "automountServiceAccountToken": False,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "containers": list(containers) or [container()],
            "initContainers": list(init_containers),
            **spec,
        },
    }
