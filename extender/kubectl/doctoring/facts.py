"""Gathers what the doctor judges besides nodes and pods: scheduler configurations, rights and extenders."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from extender.kube.errors import ApiError, ApiUnreachable
from extender.kube.objects import DecodeError, read_document
from extender.kubectl.cluster.components import PLUGIN, component_of, extenders_of, plugins_of
from extender.kubectl.cluster.session import Session, segment
from extender.kubectl.cluster.usage import proxied
from extender.kubectl.cluster.view import ClusterView
from extender.kubectl.options import Unreachable

TIMEOUT_S = 5.0
_KIND = "KubeSchedulerConfiguration"
_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"

Right = tuple[str, str]
"""Verb and resource, with `.group` where it has one and `/subresource` where it is one."""

PLUGIN_RIGHTS: tuple[Right, ...] = (
    ("list", "nodes"),
    ("watch", "nodes"),
    ("patch", "nodes"),
    ("list", "pods"),
    ("watch", "pods"),
    ("patch", "pods"),
    ("create", "events"),
    ("patch", "events"),
)
EXTENDER_RIGHTS: tuple[Right, ...] = (
    ("list", "nodes"),
    ("watch", "nodes"),
    ("get", "pods"),
    ("list", "pods"),
    ("watch", "pods"),
    ("patch", "pods"),
    ("create", "pods/binding"),
    ("get", "persistentvolumeclaims"),
    ("create", "events"),
    ("patch", "events"),
    ("list", "poddisruptionbudgets.policy"),
    ("watch", "poddisruptionbudgets.policy"),
)


@dataclass(frozen=True, slots=True)
class DoctorFacts:
    """What was seen.

    `schedulers` are KubeSchedulerConfigurations by where they are; `denied` are the rights that each service account of
    gpupack's pods lacks. `extender_health` is empty for a pod that is ready, None for one that could not be asked;
    `asked_extender` is what the extender of --extender says of its nodes. A problem is why something is not known.
    """

    view: ClusterView
    schedulers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    schedulers_problem: str = ""
    denied: Mapping[str, tuple[Right, ...]] = field(default_factory=dict)
    rights_problem: str = ""
    extender_health: Mapping[str, str | None] = field(default_factory=dict)
    asked_extender: Mapping[str, Any] | None = None
    asked_problem: str = ""


def gather(session: Session, namespaces: Iterable[str], files: Iterable[Path]) -> DoctorFacts:
    """Look at everything once."""
    view = session.view()
    schedulers, problem = _schedulers(session, namespaces, files)
    denied, rights_problem = _rights(session, view)
    asked, asked_problem = _asked(session)
    return DoctorFacts(
        view,
        schedulers,
        "" if schedulers else problem,
        denied,
        rights_problem,
        {pod.path: _health(session, proxied(pod, "/readyz")) for pod in extenders_of(view.pods.values())},
        asked,
        asked_problem,
    )


def _schedulers(
    session: Session, namespaces: Iterable[str], files: Iterable[Path]
) -> tuple[dict[str, Mapping[str, Any]], str]:
    """Scheduler configurations in ConfigMaps and files by where they are, and why some could not be looked for."""
    found: dict[str, Mapping[str, Any]] = {}
    problem = ""
    for namespace in namespaces:
        try:
            maps = session.objects(f"/api/v1/namespaces/{segment(namespace)}/configmaps", read_document)
        except Unreachable as error:
            problem = str(error)
            continue
        for body in maps:
            for key, text in (body.get("data") or {}).items():
                for config in configurations(str(text)):
                    found[f"configmap {namespace}/{body['metadata']['name']}, {key}"] = config
    for path in files:
        try:
            found |= {str(path): config for config in configurations(path.read_text(encoding="utf-8"))}
        except (OSError, UnicodeDecodeError) as error:
            problem = f"{path}: {error}"
    return found, problem


def configurations(text: str) -> Iterator[Mapping[str, Any]]:
    """The KubeSchedulerConfigurations among the YAML documents of a text; none where it is anything different."""
    if _KIND not in text:
        return
    try:
        documents = list(yaml.safe_load_all(text))
    except (yaml.YAMLError, RecursionError):
        return
    yield from (each for each in documents if isinstance(each, Mapping) and each.get("kind") == _KIND)


def _rights(session: Session, view: ClusterView) -> tuple[dict[str, tuple[Right, ...]], str]:
    """What the service accounts under which gpupack's pods run may not do, although they must."""
    pods = [*plugins_of(view.pods.values()), *extenders_of(view.pods.values())]
    accounts = {
        f"system:serviceaccount:{pod.metadata.namespace}:{pod.spec.service_account_name}": (
            PLUGIN_RIGHTS if component_of(pod) == PLUGIN else EXTENDER_RIGHTS
        )
        for pod in pods
        # A static pod has none: its kubeconfig has its identity.
        if pod.spec.service_account_name and not _is_static(pod.metadata.annotations)
    }
    denied: dict[str, tuple[Right, ...]] = {}
    for account, needed in accounts.items():
        try:
            denied[account] = tuple(right for right in needed if not _may(session, account, right))
        except (ApiError, ApiUnreachable, DecodeError) as error:
            return denied, str(error)
    return denied, ""


def _is_static(annotations: Mapping[str, str] | None) -> bool:
    return "kubernetes.io/config.mirror" in (annotations or {})


def _may(session: Session, account: str, right: Right) -> bool:
    verb, resource = right
    name, _, subresource = resource.partition("/")
    name, _, group = name.partition(".")
    namespace = account.split(":")[2]
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": account,
            "groups": ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"],
            "resourceAttributes": {"verb": verb, "group": group, "resource": name, "subresource": subresource},
        },
    }
    answer = read_document(session.api.create(_REVIEWS, review, session.options.timeout_s))
    return bool((answer.get("status") or {}).get("allowed"))


def _health(session: Session, path: str | None) -> str | None:
    if path is None:
        return None
    try:
        session.api.read(path, TIMEOUT_S)
    except ApiError as error:
        return str(error)
    except ApiUnreachable as error:
        return f"no answer through the API server: {error}"
    return ""


def _asked(session: Session) -> tuple[Mapping[str, Any] | None, str]:
    try:
        nodes = session.ask_extender("/v1/nodes")
        session.ask_extender("/readyz", as_text=True)
    except Unreachable as error:
        return None, error.format_message()
    return nodes, ""
