"""From the API server's objects to ClusterFacts: rights, scheduler configurations, nodes and pods."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec
import yaml

from device_plugin.kubeapi import NODES, PODS, ApiError, Creating
from device_plugin.pods.decoding import DecodingError, Page
from extender.contract.findings import ClusterFacts, NodeObject, PodObject
from extender.contract.names import Names
from extender.contract.quantity import parse_quantity
from extender.contract.units import ContractError

_TIMEOUT_S = 10.0
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_NEEDED = (
    ("list", "nodes"),
    ("watch", "nodes"),
    ("patch", "nodes"),
    ("list", "pods"),
    ("watch", "pods"),
    ("patch", "pods"),
    ("create", "events"),
    ("patch", "events"),
)
_EVICTION = ("create", "pods/eviction")
_CONFIG_KIND = "KubeSchedulerConfiguration"


class Asking(Creating, Protocol):
    """Who can list and create objects."""

    def list(self, path: str, field_selector: str, timeout_s: float) -> Page:
        """All objects.

        Raises:
            ApiError: no answer in time, or an error.
            DecodingError: not a list.
        """
        ...


def gather_cluster(
    api: Asking, names: Names, *, namespaces: Iterable[str], scheduler_files: Iterable[Path] = (), evicts: bool = False
) -> ClusterFacts:
    """Look at everything once.

    Args:
        api: the API server.
        names: of the installation.
        namespaces: where to look for scheduler configurations.
        scheduler_files: such configurations in files.
        evicts: whether the plugin may evict pods, and needs the right to.
    """
    try:
        nodes = [_node(body, names) for body in _objects(api, NODES)]
        pods = [pod for body in _objects(api, PODS) if (pod := _pod(body, names)) is not None]
    except (ApiError, DecodingError) as error:
        return ClusterFacts(problem=str(error))
    denied, rights_problem = _denied(api, (*_NEEDED, _EVICTION) if evicts else _NEEDED)
    schedulers, problem = _schedulers(api, namespaces)
    for path in scheduler_files:
        try:
            schedulers |= {str(path): config for config in configurations(path.read_text(encoding="utf-8"))}
        except (OSError, UnicodeDecodeError) as error:
            problem = f"{path}: {error}"
    return ClusterFacts(
        denied=denied,
        rights_problem=rights_problem,
        schedulers=schedulers,
        schedulers_problem="" if schedulers else problem,
        nodes=tuple(nodes),
        pods=tuple(pods),
    )


def _objects(api: Asking, path: str) -> Iterator[Mapping[str, Any]]:
    for item in api.list(path, "", _TIMEOUT_S).items:
        try:
            yield msgspec.json.decode(item, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise DecodingError(f"{path}: {error}") from error


def _denied(api: Asking, needed: Iterable[tuple[str, str]]) -> tuple[tuple[str, ...], str]:
    """The needed rights that the caller has not, and why that is not known."""
    denied: list[str] = []
    for verb, resource in needed:
        name, _, subresource = resource.partition("/")
        wanted = {"verb": verb, "resource": name, "subresource": subresource}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": wanted},
        }
        try:
            answer = msgspec.json.decode(api.create(_REVIEWS, review, _TIMEOUT_S), type=dict[str, Any])
        except (ApiError, msgspec.DecodeError) as error:
            return (), str(error)
        if not (answer.get("status") or {}).get("allowed"):
            denied.append(f"{verb} {resource}")
    return tuple(denied), ""


def _schedulers(api: Asking, namespaces: Iterable[str]) -> tuple[dict[str, Mapping[str, Any]], str]:
    """Scheduler configurations in ConfigMaps, and why some could not be looked for."""
    found: dict[str, Mapping[str, Any]] = {}
    problem = ""
    for namespace in namespaces:
        try:
            for body in _objects(api, f"/api/v1/namespaces/{namespace}/configmaps"):
                for key, text in (body.get("data") or {}).items():
                    where = f"configmap {namespace}/{body['metadata']['name']}, {key}"
                    found |= dict.fromkeys([where], config) if (config := next(configurations(text), None)) else {}
        except (ApiError, DecodingError) as error:
            problem = str(error)
    return found, problem


def configurations(text: str) -> Iterator[Mapping[str, Any]]:
    """The KubeSchedulerConfigurations among a file's YAML documents; none where it is something else."""
    if _CONFIG_KIND not in text:
        return
    try:
        documents = list(yaml.safe_load_all(text))
    except (yaml.YAMLError, RecursionError):
        return
    yield from (each for each in documents if isinstance(each, Mapping) and each.get("kind") == _CONFIG_KIND)


def _node(body: Mapping[str, Any], names: Names) -> NodeObject:
    metadata, allocatable = body["metadata"], (body.get("status") or {}).get("allocatable") or {}
    annotations = metadata.get("annotations") or {}
    return NodeObject(
        name=metadata["name"],
        inventory=annotations.get(names.inventory_annotation),
        cordon=annotations.get(names.cordon_annotation),
        memory_units=_amount(allocatable.get(names.memory_resource)),
    )


def _amount(quantity: object) -> int | None:
    try:
        return None if quantity is None else parse_quantity(str(quantity))
    except ContractError:
        return None


def _pod(body: Mapping[str, Any], names: Names) -> PodObject | None:
    metadata, spec = body["metadata"], body.get("spec") or {}
    annotations = metadata.get("annotations") or {}
    containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    asks = any(
        _amount(((container.get("resources") or {}).get("limits") or {}).get(resource))
        for container in containers
        for resource in (names.memory_resource, names.gpu_resource)
    )
    # The extender empties a forged report when it binds.
    allocation = annotations.get(names.allocation_annotation) or None
    allocated = annotations.get(names.allocated_annotation) or None
    if not asks and allocation is None and allocated is None:
        return None
    return PodObject(
        path=f"{metadata.get('namespace', 'default')}/{metadata['name']}",
        node=spec.get("nodeName") or "",
        asks=asks,
        ended=(body.get("status") or {}).get("phase") in ("Succeeded", "Failed"),
        allocation=allocation,
        allocated=allocated,
    )
