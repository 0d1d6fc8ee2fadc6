"""The audit log of kube-apiserver tells which rights a service account used and which it lacked."""

import json
from pathlib import Path
from typing import Any

from tests.e2e.audit import AuditedRequest, Right, read_audit_log, rights_of


def event(**changes: Any) -> dict[str, Any]:
    """An event as kube-apiserver writes it at level Metadata."""
    return {
        "verb": "create",
        "requestURI": "/api/v1/namespaces/work/pods/a/binding",
        "user": {"username": "system:serviceaccount:gpupack:extender"},
        "objectRef": {
            "resource": "pods",
            "namespace": "work",
            "name": "a",
            "apiVersion": "v1",
            "subresource": "binding",
        },
        "responseStatus": {"code": 201},
        "annotations": {"authorization.k8s.io/decision": "allow"},
        **changes,
    }


def test_a_subresource_is_named_as_in_an_rbac_rule() -> None:
    """`pods/binding` is what a ClusterRole grants."""
    assert AuditedRequest.parse(json.dumps(event())) == AuditedRequest(
        user="system:serviceaccount:gpupack:extender",
        right=Right("create", "", "pods/binding"),
        namespace="work",
        name="a",
        status=201,
        allowed=True,
    )


def test_a_path_without_an_object_is_its_own_resource() -> None:
    """RBAC grants such paths as nonResourceURLs, without their query."""
    request = AuditedRequest.parse(json.dumps(event(verb="get", requestURI="/version?timeout=5s", objectRef={})))
    assert request.right == Right("get", "", "/version")


def test_only_the_requests_of_the_one_account_are_read_and_a_half_written_line_is_left(tmp_path: Path) -> None:
    """The API server may be writing while the test reads."""
    log = tmp_path / "audit.log"
    other = event(user={"username": "system:serviceaccount:gpupack:extender-2"})
    log.write_text(f"{json.dumps(event())}\n{json.dumps(other)}\n{json.dumps(event())[:40]}", encoding="utf-8")
    assert [request.user for request in read_audit_log(log, "gpupack", "extender")] == [
        "system:serviceaccount:gpupack:extender"
    ]


def test_no_log_means_no_requests(tmp_path: Path) -> None:
    """Before the first request of any service account there is no file."""
    assert read_audit_log(tmp_path / "audit.log", "gpupack", "extender") == []


def test_the_rules_of_a_role_are_spelled_out() -> None:
    """So that granted minus used is what is superfluous."""
    rules = [
        {"apiGroups": [""], "resources": ["nodes", "pods"], "verbs": ["list", "watch"]},
        {"nonResourceURLs": ["/healthz"], "verbs": ["get"]},
    ]
    assert rights_of(rules) == {
        Right("list", "", "nodes"),
        Right("list", "", "pods"),
        Right("watch", "", "nodes"),
        Right("watch", "", "pods"),
        Right("get", "", "/healthz"),
    }
