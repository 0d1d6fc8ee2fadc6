"""JSON requests to a Kubernetes API server, as one user: paths and bodies go in, decoded objects come out."""

import json
from collections.abc import Mapping
from typing import Any

import urllib3

from bench.simulated.waiting import wait_until
from tests.e2e.certificates import KeyPair

Json = dict[str, Any]

MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"


class ApiError(Exception):
    """The API server refused a request."""

    def __init__(self, request: str, status: int, message: str) -> None:
        super().__init__(f"{request} answered {status}: {message}")
        self.status = status
        self.message = message


class Api:
    """A client of one API server that acts as one user. Safe to use from several threads."""

    def __init__(
        self, server: str, *, ca: str, client: KeyPair | None = None, token: str | None = None, timeout_s: float = 30
    ) -> None:
        self.server = server
        self._timeout_s = timeout_s
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._pool = urllib3.PoolManager(
            maxsize=16,
            retries=False,
            ca_certs=ca,
            cert_file=None if client is None else str(client.certificate),
            key_file=None if client is None else str(client.key),
        )

    def get(self, path: str, **query: str) -> Json:
        """Read one object or a list, `path` from the root: `/api/v1/nodes`."""
        return self._request("GET", path, query=query)

    def create(self, path: str, body: Mapping[str, Any]) -> Json:
        """POST an object to its collection, and return it as stored."""
        return self._request("POST", path, body=body)

    def replace(self, path: str, body: Mapping[str, Any]) -> Json:
        """PUT an object, and return it as stored."""
        return self._request("PUT", path, body=body)

    def patch(self, path: str, body: Mapping[str, Any], content_type: str = MERGE_PATCH) -> Json:
        """Patch an object, and return it as stored."""
        return self._request("PATCH", path, body=body, content_type=content_type)

    def delete(self, path: str, *, grace_period_s: int | None = None) -> Json:
        """Delete an object; 0 s of grace removes a pod at once (force-delete), None is the object's own."""
        options = {} if grace_period_s is None else {"gracePeriodSeconds": grace_period_s}
        return self._request("DELETE", path, body=options)

    def is_ready(self) -> bool:
        """Whether /readyz answers 200."""
        try:
            answer = self._pool.request("GET", f"{self.server}/readyz", headers=self._headers, timeout=2)
        except urllib3.exceptions.HTTPError:
            return False
        return answer.status == 200

    def close(self) -> None:
        """Close the idle connections."""
        self._pool.clear()

    # What most tests do.

    def create_namespace(self, name: str) -> None:
        """Create a namespace and wait until pods may be created in it (its default service account exists)."""
        self.create("/api/v1/namespaces", {"metadata": {"name": name}})
        wait_until(
            lambda: self.exists(f"/api/v1/namespaces/{name}/serviceaccounts/default"),
            what=f"the default service account of namespace {name}",
        )

    def exists(self, path: str) -> bool:
        """Whether the object is there."""
        try:
            self.get(path)
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    def wait_served(self, collection: str) -> None:
        """Wait until a kind that was just defined can be listed and found: 404 first, then 429 for its storage."""
        group, _, plural = collection.rpartition("/")

        def served() -> bool:
            try:
                self.get(collection)
                return plural in {each["name"] for each in self.get(group)["resources"]}
            except ApiError as error:
                if error.status in (404, 429, 503):
                    return False
                raise

        wait_until(served, what=f"{collection} to be served")

    def pod(self, namespace: str, name: str) -> Json:
        """Read one pod."""
        return self.get(f"/api/v1/namespaces/{namespace}/pods/{name}")

    def create_pod(self, namespace: str, pod: Mapping[str, Any]) -> Json:
        """Create one pod."""
        return self.create(f"/api/v1/namespaces/{namespace}/pods", pod)

    def delete_pod(self, namespace: str, name: str, *, grace_period_s: int | None = None) -> Json:
        """Delete one pod; on a simulated node only 0 s of grace makes it go, since no kubelet ends it."""
        return self.delete(f"/api/v1/namespaces/{namespace}/pods/{name}", grace_period_s=grace_period_s)

    def wait_scheduled(self, namespace: str, name: str, *, timeout_s: float = 60) -> str:
        """Wait until the pod is bound, and return its node's name."""
        node: str = wait_until(
            lambda: self.pod(namespace, name)["spec"].get("nodeName"),
            what=f"a node for pod {namespace}/{name}",
            timeout_s=timeout_s,
        )
        return node

    def wait_unschedulable(self, namespace: str, name: str, saying: str = "", *, timeout_s: float = 60) -> None:
        """Wait until the scheduler has refused the pod with a message that has `saying` in it.

        Its first refusal may be of a view that lacks the newest node: the next one comes with that node.

        Raises:
            TimeoutError: it has not; the message has its last one.
        """
        try:
            wait_until(
                lambda: (said := _refusal(self.pod(namespace, name))) and saying in said,
                what=f"the scheduler's refusal of pod {namespace}/{name} with {saying!r}",
                timeout_s=timeout_s,
            )
        except TimeoutError as error:
            raise TimeoutError(f"{error}; it says {_refusal(self.pod(namespace, name))!r}") from None

    def wait_allowed(self, user: str, verb: str, resource: str, namespace: str = "", *, group: str = "") -> None:
        """Wait until the API server has taken in the bindings that let a user do this; "pods/binding" is a part."""
        kind, _, part = resource.partition("/")
        asked = {"verb": verb, "group": group, "resource": kind, "subresource": part, "namespace": namespace}
        review = {"spec": {"user": user, "resourceAttributes": asked}}
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        wait_until(lambda: self.create(path, review)["status"]["allowed"], what=f"{user} to be let {verb} {resource}")

    def remove_pod(self, namespace: str, name: str) -> None:
        """Force-delete a pod that somebody else may be deleting, too."""
        try:
            self.delete_pod(namespace, name, grace_period_s=0)
        except ApiError as error:
            if error.status != 404:
                raise

    def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> Json:
        answer = self._pool.request(
            method,
            self.server + path,
            fields=query if body is None else None,
            body=None if body is None else json.dumps(body).encode(),
            headers={**self._headers, "Accept": "application/json", "Content-Type": content_type},
            timeout=self._timeout_s,
        )
        if answer.status >= 400:
            raise ApiError(f"{method} {path}", answer.status, _message(answer.data))
        decoded: Json = json.loads(answer.data)
        return decoded


def _refusal(pod: Json) -> str | None:
    for condition in pod.get("status", {}).get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return str(condition.get("message", ""))
    return None


def _message(data: bytes) -> str:
    try:
        return str(json.loads(data)["message"])
    except (ValueError, KeyError, TypeError):
        return data[:300].decode(errors="replace")
