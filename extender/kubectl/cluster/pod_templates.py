"""Finds the pod templates in an object, and how many pods of each run at once.

The kinds of Kubernetes itself are read as their controllers read them. Any other kind is searched for templates: next
to each, `replicas` or `parallelism` says how many, as in PyTorchJob, TFJob, Volcano's Job, JobSet and Rollout.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Body = Mapping[str, Any]

GROUPS: Mapping[str, str] = {
    "Pod": "",
    "Deployment": "apps",
    "ReplicaSet": "apps",
    "StatefulSet": "apps",
    "Job": "batch",
    "CronJob": "batch",
}
"""Kinds that are known, and their API group."""

_MOST_PODS = 1_000_000
_COUNTS = ("replicas", "parallelism")


class TemplateError(ValueError):
    """A manifest cannot be simulated; the message names the document, the field, its value and what was expected."""


@dataclass(frozen=True, slots=True)
class Template:
    """A pod template.

    Args:
        path: where its metadata and spec are, ending with a dot: `spec.template.`; empty for the object itself.
        body: with `metadata` and `spec`.
        pods: how many run at once.
        role: its name among the templates of the same object; empty where there is only one.
    """

    path: str
    body: Body
    pods: int
    role: str = ""


def is_known(body: Body) -> bool:
    """Whether it is a kind of Kubernetes itself that creates pods."""
    kind, version = body.get("kind"), str(body.get("apiVersion", ""))
    if not isinstance(kind, str) or kind not in GROUPS:
        return False
    return not version or version.rpartition("/")[0] == GROUPS[kind] or "/" not in version


def templates_of(body: Body, where: str) -> list[Template]:
    """The pod templates of an object, in order; none in one that makes no pods.

    Raises:
        TemplateError: what should be there is not.
    """
    if body.get("kind") == "DaemonSet":
        raise TemplateError(f"{where}: a DaemonSet has a pod on every node, expected pods that look for a node")
    if not is_known(body):
        return list(_searched(body.get("spec"), "spec", 1, ""))
    kind = body["kind"]
    if kind == "Pod":
        return [Template("", body, 1)]
    outer, path = body, ""
    if kind == "CronJob":
        outer, path = object_of(object_of(body, "spec", where), "jobTemplate", where, "spec."), "spec.jobTemplate."
    spec = object_of(outer, "spec", where, path)
    path += "spec."
    pods = _running(spec, kind, where, path)
    return [Template(f"{path}template.", object_of(spec, "template", where, path), pods)]


def object_of(body: Body, field: str, where: str, path: str = "", *, default: Body | None = None) -> Body:
    """A field that must be an object; `default` where it may be missing.

    Raises:
        TemplateError: it is none.
    """
    value = body.get(field)
    if value is None and default is not None:
        return default
    if not isinstance(value, dict):
        raise TemplateError(f"{where}: {path}{field} is {shown(value)}, expected an object")
    return value


def shown(value: object) -> str:
    """A value in a message."""
    return "missing" if value is None else repr(value)[:80]


def _running(spec: Body, kind: str, where: str, path: str) -> int:
    """How many pods run at once."""
    if kind not in ("Job", "CronJob"):
        return _number(spec, "replicas", where, path)
    parallelism = _number(spec, "parallelism", where, path)
    return (
        parallelism if spec.get("completions") is None else min(parallelism, _number(spec, "completions", where, path))
    )


def _number(spec: Body, field: str, where: str, path: str) -> int:
    value = spec.get(field)
    value = 1 if value is None else value
    if not _is_count(value):
        raise TemplateError(f"{where}: {path}{field} is {shown(value)}, expected 0 to {_MOST_PODS} pods")
    return int(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_PODS


def _searched(value: object, path: str, times: int, role: str) -> Iterator[Template]:
    """Templates at any depth; `role` is the last key that is a name and no field of a template."""
    if isinstance(value, list):
        for at, item in enumerate(value):
            named = item.get("name") if isinstance(item, dict) else None
            yield from _searched(item, f"{path}[{at}]", times, named if isinstance(named, str) else role)
    if not isinstance(value, dict):
        return
    template = value.get("template")
    count = next((value[name] for name in _COUNTS if _is_count(value.get(name))), 1)
    for field, inner in value.items():
        if field != "template" or not isinstance(template, dict):
            named = role if field in ("spec", "template") or field.endswith("Specs") else field
            yield from _searched(inner, f"{path}.{field}", times, named)
        elif isinstance(template.get("spec"), dict) and isinstance(template["spec"].get("containers"), list):
            yield Template(f"{path}.template.", template, times * count, role)
        else:
            yield from _searched(template, f"{path}.template", times * count, role)
