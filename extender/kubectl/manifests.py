"""From a manifest's YAML documents to the pods that they would make.

Pods are read by the extender's own decoder. What the API server would add on the way is added here: requests that are
not given are the limits. Anything that cannot be meant is an error that names the document and the field.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from extender.capacity.simulating import Wanted
from extender.contract.names import Names
from extender.contract.units import UnitMib
from extender.decoding import DecodeError, Decoder
from extender.kubectl.objects import read_pod
from extender.kubectl.planning import constraints_of
from extender.scheduling.request import PodRequest

KINDS = ("Pod", "Deployment", "ReplicaSet", "StatefulSet", "Job", "CronJob", "List")

_MOST_PODS = 1_000_000


class ManifestError(ValueError):
    """A manifest cannot be simulated; the message names the document, the field, its value and what was expected."""


def wanted_of(text: str, *, names: Names, unit_mib: UnitMib) -> list[Wanted]:
    """The kinds of pods that the documents of a manifest make, in order, with how many of each.

    Raises:
        ManifestError: a document that is none of `KINDS`, or makes no sense.
    """
    decoder = Decoder(names, unit_mib)
    return [_wanted(where, body, decoder) for where, body in _documents(text)]


def _documents(text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every object with the words that say where it is; Lists are unfolded."""
    number = 0
    try:
        for number, body in enumerate(yaml.safe_load_all(text), start=1):
            if body is not None:
                yield from _objects(f"document {number}", body)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or error
        raise ManifestError(f"document {number + 1}: not YAML{line}: {problem}") from error
    if not number:
        raise ManifestError(f"there is no document, expected one of {', '.join(KINDS)}")


def _objects(where: str, body: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if not isinstance(body, dict):
        raise ManifestError(f"{where}: {_shown(body)}, expected an object with kind, metadata and spec")
    kind = body.get("kind")
    if kind not in KINDS:
        raise ManifestError(f"{where}: kind is {_shown(kind)}, expected one of {', '.join(KINDS)}")
    if kind != "List":
        metadata = _object(body, "metadata", where)
        name = metadata.get("name") or metadata.get("generateName") or ""
        yield f"{where} ({kind} {name})".replace(" )", ")"), body
        return
    items = body.get("items")
    if not isinstance(items, list):
        raise ManifestError(f"{where}: items is {_shown(items)}, expected a list")
    for number, item in enumerate(items, start=1):
        yield from _objects(f"{where}, item {number}", item)


def _wanted(where: str, body: Mapping[str, Any], decoder: Decoder) -> Wanted:
    kind = body["kind"]
    template, path, pods = body, "", 1
    if kind == "CronJob":
        template, path = _object(_object(template, "spec", where), "jobTemplate", where, "spec."), "spec.jobTemplate."
    if kind != "Pod":
        spec = _object(template, "spec", where, path)
        pods = _pods_of(spec, kind, where, f"{path}spec.")
        template, path = _object(spec, "template", where, f"{path}spec."), f"{path}spec.template."
    metadata = _object(body, "metadata", where)
    named = _object(template, "metadata", where, path, default={})
    name = metadata.get("name") or metadata.get("generateName") or ""
    pod = {
        "metadata": {**named, "name": name, "uid": "simulated", "resourceVersion": "1"},
        "spec": _defaulted(_object(template, "spec", where, path), decoder.names, where, f"{path}spec."),
    }
    try:
        raw = json.dumps(pod).encode()
        record, found = decoder.pod(raw), read_pod(raw)
    except (DecodeError, TypeError, ValueError) as error:
        problem = str(error).removeprefix("PodObject: ").removeprefix("Pod: ").replace("$.", path)
        raise ManifestError(f"{where}: {problem}") from error
    if record.request_error:
        raise ManifestError(f"{where}: {record.request_error}")
    if found.spec.node_name:
        raise ManifestError(f"{where}: {path}spec.nodeName is {found.spec.node_name!r}: kube-scheduler never sees it")
    plain = PodRequest((), cpu_milli=record.cpu_milli, memory_bytes=record.memory_bytes)
    return Wanted(
        name=f"{kind}/{name}",
        request=record.request if record.request is not None else plain,
        pods=pods,
        constraints=constraints_of(found, decoder.names),
    )


def _pods_of(spec: Mapping[str, Any], kind: str, where: str, path: str) -> int:
    """How many pods run at once."""
    if kind not in ("Job", "CronJob"):
        return _number(spec, "replicas", where, path)
    parallelism = _number(spec, "parallelism", where, path)
    return min(parallelism, _number(spec, "completions", where, path)) if "completions" in spec else parallelism


def _defaulted(spec: Mapping[str, Any], names: Names, where: str, path: str) -> Mapping[str, Any]:
    """The spec with requests as the API server completes them."""
    if not isinstance(spec.get("containers"), list) or not spec["containers"]:
        raise ManifestError(
            f"{where}: {path}containers is {_shown(spec.get('containers'))}, expected a list of containers"
        )
    changed = dict(spec)
    for field in ("containers", "initContainers"):
        containers = spec.get(field)
        if containers is None:
            continue
        if not isinstance(containers, list):
            raise ManifestError(f"{where}: {path}{field} is {_shown(containers)}, expected a list of containers")
        changed[field] = [
            _container(container, names, where, f"{path}{field}[{at}]") for at, container in enumerate(containers)
        ]
    return changed


def _container(container: object, names: Names, where: str, path: str) -> Mapping[str, Any]:
    if not isinstance(container, dict):
        raise ManifestError(f"{where}: {path} is {_shown(container)}, expected a container")
    resources = _object(container, "resources", where, f"{path}.", default={})
    limits = _object(resources, "limits", where, f"{path}.resources.", default={})
    requests = _object(resources, "requests", where, f"{path}.resources.", default={})
    for name in (names.memory_resource, names.gpu_resource, names.core_resource):
        if name in requests and str(requests[name]) != str(limits.get(name)):
            raise ManifestError(
                f"{where}: {path}.resources.requests has {name} {requests[name]}, limits {limits.get(name, 'none')}; "
                "expected the same in limits, where the API server wants it"
            )
    return {**container, "resources": {"limits": limits, "requests": {**limits, **requests}}}


def _object(
    body: Mapping[str, Any], field: str, where: str, path: str = "", *, default: Mapping[str, Any] | None = None
) -> Mapping[str, Any]:
    value = body.get(field)
    if value is None and default is not None:
        return default
    if not isinstance(value, dict):
        raise ManifestError(f"{where}: {path}{field} is {_shown(value)}, expected an object")
    return value


def _number(spec: Mapping[str, Any], field: str, where: str, path: str) -> int:
    value = spec.get(field, 1)
    value = 1 if value is None else value
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MOST_PODS:
        raise ManifestError(f"{where}: {path}{field} is {_shown(value)}, expected 0 to {_MOST_PODS} pods")
    return value


def _shown(value: object) -> str:
    return "missing" if value is None else repr(value)[:80]
