"""Reads the pods that a manifest would create from its YAML documents.

Pods are read by the extender's own decoder. What the API server would add on the way is added here: requests that are
not given are the limits. Anything invalid is an error that names the document and the field.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from extender.capacity.simulating import Wanted
from extender.contract.names import Names
from extender.contract.units import UnitMib
from extender.decoding.decoder import Decoder
from extender.kube.objects import DecodeError, read_pod
from extender.kubectl.cluster.past_admission import misspelt_names_of
from extender.kubectl.cluster.pod_templates import (
    Body,
    Template,
    TemplateError,
    is_known,
    object_of,
    shown,
    templates_of,
)
from extender.kubectl.cluster.traits import constraints_of
from extender.scheduling.pods.request import PodRequest


@dataclass(frozen=True, slots=True)
class Manifest:
    """The kinds of pods that a manifest creates, in order, and notes on how it was read."""

    wanted: tuple[Wanted, ...]
    notes: tuple[str, ...] = ()


def manifest_of(text: str, *, names: Names, unit_mib: UnitMib) -> Manifest:
    """The pods that the documents of a manifest create.

    Objects that create no pods are left out with a note; another note says how an operator's own kind was read.

    Raises:
        TemplateError: a document is invalid, or none creates pods.
    """
    decoder = Decoder(names, unit_mib)
    wanted: list[Wanted] = []
    notes: list[str] = []
    for where, body in _documents(text):
        templates = templates_of(body, where)
        found = [_wanted(where, body, template, decoder) for template in templates]
        if not templates:
            notes.append(f"{where} creates no pods and is left out")
        elif not is_known(body):
            read = ", ".join(
                f"{one.pods} x {template.path[:-1]}" for one, template in zip(found, templates, strict=True)
            )
            notes.append(f"{where} is an operator's kind, read by its pod templates: {read}")
        wanted += found
    if not wanted:
        raise TemplateError("no document creates pods, expected a Pod or an object with a pod template")
    return Manifest(tuple(wanted), tuple(notes))


def _documents(text: str) -> Iterator[tuple[str, Body]]:
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
        raise TemplateError(f"document {number + 1}: not YAML{line}: {problem}") from error


def _objects(where: str, body: object) -> Iterator[tuple[str, Body]]:
    if not isinstance(body, dict):
        raise TemplateError(f"{where}: {shown(body)}, expected an object with kind, metadata and spec")
    kind = body.get("kind")
    if not isinstance(kind, str) or not kind:
        raise TemplateError(f"{where}: kind is {shown(kind)}, expected such as Pod, Deployment or Job")
    if kind != "List":
        yield f"{where} ({kind} {_name_of(body, where)})".replace(" )", ")"), body
        return
    items = body.get("items")
    if not isinstance(items, list):
        raise TemplateError(f"{where}: items is {shown(items)}, expected a list")
    for number, item in enumerate(items, start=1):
        yield from _objects(f"{where}, item {number}", item)


def _name_of(body: Body, where: str) -> str:
    metadata = object_of(body, "metadata", where)
    return str(metadata.get("name") or metadata.get("generateName") or "")


def _wanted(where: str, body: Body, template: Template, decoder: Decoder) -> Wanted:
    name, path = _name_of(body, where), template.path
    pod = {
        "metadata": {
            **object_of(template.body, "metadata", where, path, default={}),
            "name": name,
            "uid": "simulated",
            "resourceVersion": "1",
        },
        "spec": _defaulted(object_of(template.body, "spec", where, path), decoder.names, where, f"{path}spec."),
    }
    try:
        raw = json.dumps(pod).encode()
        record, found = decoder.pod(raw), read_pod(raw)
    except (DecodeError, TypeError, ValueError) as error:
        problem = str(error).removeprefix("PodObject: ").removeprefix("Pod: ").replace("$.", path)
        raise TemplateError(f"{where}: {problem}") from error
    refused = [record.request_error] if record.request_error else misspelt_names_of(decoder.names, found)
    if refused:
        raise TemplateError(f"{where}: {refused[0]}")
    if found.spec.node_name:
        raise TemplateError(f"{where}: {path}spec.nodeName is {found.spec.node_name!r}: kube-scheduler never sees it")
    plain = PodRequest((), cpu_milli=record.cpu_milli, memory_bytes=record.memory_bytes)
    return Wanted(
        name=f"{body['kind']}/{name} {template.role}".rstrip(),
        request=record.request if record.request is not None else plain,
        pods=template.pods,
        constraints=constraints_of(found, decoder.names),
    )


def _defaulted(spec: Body, names: Names, where: str, path: str) -> Body:
    """The spec with requests as the API server completes them."""
    if not isinstance(spec.get("containers"), list) or not spec["containers"]:
        raise TemplateError(
            f"{where}: {path}containers is {shown(spec.get('containers'))}, expected a list of containers"
        )
    changed = dict(spec)
    for field in ("containers", "initContainers"):
        containers = spec.get(field)
        if containers is None:
            continue
        if not isinstance(containers, list):
            raise TemplateError(f"{where}: {path}{field} is {shown(containers)}, expected a list of containers")
        changed[field] = [
            _container(container, names, where, f"{path}{field}[{at}]") for at, container in enumerate(containers)
        ]
    return changed


def _container(container: object, names: Names, where: str, path: str) -> Body:
    if not isinstance(container, dict):
        raise TemplateError(f"{where}: {path} is {shown(container)}, expected a container")
    resources = object_of(container, "resources", where, f"{path}.", default={})
    limits = object_of(resources, "limits", where, f"{path}.resources.", default={})
    requests = object_of(resources, "requests", where, f"{path}.resources.", default={})
    for name in (names.memory_resource, names.gpu_resource, names.core_resource):
        if name in requests and str(requests[name]) != str(limits.get(name)):
            raise TemplateError(
                f"{where}: {path}.resources.requests has {name} {requests[name]}, limits {limits.get(name, 'none')}; "
                "expected the same in limits, where the API server wants it"
            )
    return {**container, "resources": {"limits": limits, "requests": {**limits, **requests}}}
