"""Reads kube-apiserver's audit log: which requests service accounts made, and whether RBAC let them."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

SERVICE_ACCOUNT_PREFIX = "system:serviceaccount:"

# Only service accounts are interesting: what runs under RBAC with one is what the tests are about.
POLICY: dict[str, Any] = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "userGroups": ["system:serviceaccounts"]}, {"level": "None"}],
}


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """What an RBAC rule grants: a verb on a resource ("pods", or "pods/binding"), or on a path ("/healthz")."""

    verb: str
    group: str
    resource: str


@dataclass(frozen=True, slots=True)
class AuditedRequest:
    """One request of a service account and the status that it got; `allowed` is RBAC's word, not the outcome."""

    user: str
    right: Right
    namespace: str
    name: str
    status: int
    allowed: bool

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read one line of the log."""
        event = json.loads(line)
        target = event.get("objectRef", {})
        resource = target.get("resource", event["requestURI"].partition("?")[0])
        if "subresource" in target:
            resource += "/" + target["subresource"]
        decision = event.get("annotations", {}).get("authorization.k8s.io/decision", "")
        return cls(
            user=event["user"]["username"],
            right=Right(event["verb"], target.get("apiGroup", ""), resource),
            namespace=target.get("namespace", ""),
            name=target.get("name", ""),
            status=event.get("responseStatus", {}).get("code", 0),
            allowed=decision == "allow",
        )


def rights_of(rules: Iterable[Mapping[str, Any]]) -> set[Right]:
    """What the `rules` of a Role or ClusterRole grant, one by one; compare with what was used."""
    rights: set[Right] = set()
    for rule in rules:
        rights |= {
            Right(verb, group, resource)
            for verb in rule["verbs"]
            for group in rule.get("apiGroups", [])
            for resource in rule.get("resources", [])
        }
        rights |= {Right(verb, "", path) for verb in rule["verbs"] for path in rule.get("nonResourceURLs", [])}
    return rights


def read_audit_log(path: Path, namespace: str, service_account: str) -> list[AuditedRequest]:
    """Every request of one service account so far, oldest first; a watch appears when it starts and when it ends."""
    user = f"{SERVICE_ACCOUNT_PREFIX}{namespace}:{service_account}"
    if not path.exists():
        return []
    with path.open(encoding="utf-8") as log:
        # The last line may be half written.
        requests = [AuditedRequest.parse(line) for line in log if line.endswith("\n") and user in line]
    return [request for request in requests if request.user == user]
