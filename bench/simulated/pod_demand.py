"""Counts the resources that a pod takes from a node, as kube-scheduler and the kubelet count them.

Source: k8s.io/component-helpers/resource (PodRequests): the greater of what the containers need together and what any
plain init container needs together with the sidecars declared before it; sidecars count all the time.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from extender.contract.quantity import parse_milli_quantity, parse_quantity

Body = Mapping[str, Any]
Amounts = dict[str, int]


def is_sidecar(init_container: Body) -> bool:
    """Whether an init container keeps running along with the app containers."""
    return init_container.get("restartPolicy") == "Always"


def containers_in_order(spec: Body) -> Iterator[tuple[Body, bool]]:
    """Every container in the order in which the kubelet admits them, each with whether it is a plain init container."""
    for container in spec.get("initContainers") or []:
        yield container, not is_sidecar(container)
    for container in spec.get("containers") or []:
        yield container, False


def requests_of(container: Body) -> Amounts:
    """A container's requests: cpu in thousandths of a core, everything else in its own unit."""
    requests = (container.get("resources") or {}).get("requests") or {}
    return {
        name: parse_milli_quantity(str(amount)) if name == "cpu" else parse_quantity(str(amount))
        for name, amount in requests.items()
    }


def pod_demand(spec: Body) -> Amounts:
    """What the whole pod takes from its node."""
    return combine(spec, requests_of)


def combine(spec: Body, amounts_of: Callable[[Body], Mapping[str, int]]) -> Amounts:
    """Join per-container amounts of anything (resources, units of one GPU) to those of the pod."""
    running: Amounts = {}
    peak: Amounts = {}
    for container in spec.get("initContainers") or []:
        amounts = amounts_of(container)
        together = _sum(running, amounts)
        peak = _greatest(peak, together)
        if is_sidecar(container):
            running = together
    for container in spec.get("containers") or []:
        running = _sum(running, amounts_of(container))
    return _greatest(peak, running)


def _sum(left: Mapping[str, int], right: Mapping[str, int]) -> Amounts:
    return {name: left.get(name, 0) + right.get(name, 0) for name in {**left, **right}}


def _greatest(left: Mapping[str, int], right: Mapping[str, int]) -> Amounts:
    return {name: max(left.get(name, 0), right.get(name, 0)) for name in {**left, **right}}
