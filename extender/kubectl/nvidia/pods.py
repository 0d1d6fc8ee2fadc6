"""Reads what a pod asks NVIDIA's device plugin for, in gpupack's words.

A MIG device is one that the pod's `gpu-model` would name, as `kubectl gpupack migrate` writes it.
"""

from collections.abc import Iterator, Mapping

from extender.contract.containers import ContainerKind
from extender.contract.quantity import parse_quantity
from extender.contract.units import ContractError, UnitMib
from extender.kube.objects import ContainerArguments, PodObject
from extender.kubectl.nvidia.gpus import NVIDIA_GPU, NVIDIA_MIG, OfferedGpus
from extender.scheduling.pods.models import ANY_MODEL, RequestError, parse_models
from extender.scheduling.pods.request import ContainerRequest, PodRequest, pod_request

_EITHER = "*,*MIG*"
"""Of who asks for a `nvidia.com/gpu` and has no node yet, where some nodes give MIG devices for it."""


def asked_of_nvidia(
    pod: PodObject, cpu_milli: int, memory_bytes: int, offered: Mapping[str, OfferedGpus], unit_mib: UnitMib
) -> PodRequest | None:
    """What the pod asks for, where `offered` says what nodes give out; None where that is nothing, or no valid request.

    A device that several pods share in time is an equal share of it to each.
    """
    node = offered.get(pod.spec.node_name)
    patterns: set[str] = set()
    asked = []
    try:
        for container, kind in _containers(pod):
            limits = (container.resources.limits if container.resources is not None else None) or {}
            gpus = parse_quantity(str(limits.get(NVIDIA_GPU, 0)))
            if gpus:
                patterns |= _patterns(node, offered)
            if gpus and node is not None and node.replicas > 1 and node.gpus:
                units = max(1, node.gpus[0].memory_mib // unit_mib // node.replicas)
                asked.append(ContainerRequest(container.name, kind, memory_units=gpus * units))
                continue
            for name, amount in limits.items():
                if name.startswith(NVIDIA_MIG) and (devices := parse_quantity(str(amount))):
                    gpus += devices
                    patterns.add(f"*MIG-{name.removeprefix(NVIDIA_MIG).replace('gb.', 'gb+')}")
            if gpus:
                asked.append(ContainerRequest(container.name, kind, gpus=gpus))
        models = parse_models(",".join(sorted(patterns))) if patterns - {"*"} else ANY_MODEL
        if not asked:
            return None
        return pod_request(
            tuple(asked), models=models, cpu_milli=cpu_milli, memory_bytes=memory_bytes, bound=bool(pod.spec.node_name)
        )
    except (ContractError, RequestError):
        return None


def combines_mig(request: PodRequest) -> bool:
    """Whether a container has several MIG devices, of which a program can use one, and which gpupack gives to none."""
    return request.models.asks_for_mig and any(demand.whole and demand.gpus > 1 for demand in request.demands)


def _patterns(node: OfferedGpus | None, offered: Mapping[str, OfferedGpus]) -> set[str]:
    if node is not None:
        return {f"*MIG-{node.profile}"} if node.profile else {"*"}
    return set(_EITHER.split(",")) if any(one.profile for one in offered.values()) else {"*"}


def _containers(pod: PodObject) -> Iterator[tuple[ContainerArguments, ContainerKind]]:
    for container in pod.spec.init_containers or ():
        sidecar = container.restart_policy == "Always"
        yield container, ContainerKind.SIDECAR if sidecar else ContainerKind.INIT
    for container in pod.spec.containers:
        yield container, ContainerKind.APP
