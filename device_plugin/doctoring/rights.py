"""Asks the API server which of the rights that the plugin needs the caller lacks."""

from collections.abc import Iterable

from device_plugin.doctoring.facts import Rights
from device_plugin.pods.writing import Creating
from extender.kube.errors import ApiError, ApiUnreachable
from extender.kube.objects import DecodeError, read_document

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


def gather_rights(api: Creating, *, evicts: bool) -> Rights:
    """Ask about every right; `evicts` is whether the plugin may evict pods, and needs the right to."""
    try:
        return Rights(denied=tuple(_denied(api, (*_NEEDED, _EVICTION) if evicts else _NEEDED)))
    except ApiUnreachable as error:
        return Rights(unreachable=str(error))
    except (ApiError, DecodeError) as error:
        return Rights(problem=str(error))


def _denied(api: Creating, needed: Iterable[tuple[str, str]]) -> list[str]:
    denied: list[str] = []
    for verb, resource in needed:
        name, _, subresource = resource.partition("/")
        wanted = {"verb": verb, "resource": name, "subresource": subresource}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": wanted},
        }
        answer = read_document(api.create(_REVIEWS, review, _TIMEOUT_S))
        if not (answer.get("status") or {}).get("allowed"):
            denied.append(f"{verb} {resource}")
    return denied
