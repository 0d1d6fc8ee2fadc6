"""Asks a real control plane's API server, as one user, what the tests need."""

from collections.abc import Mapping
from typing import Any

from bench.simulated.client import MERGE_PATCH, ApiAccess, ClusterClient, FailureStatusError
from bench.simulated.waiting import wait_until

Json = dict[str, Any]


class Api:
    """One user's requests to one API server. Safe to use from several threads."""

    def __init__(self, access: ApiAccess) -> None:
        self.server = access.server
        self._client = ClusterClient(access)

    def get(self, path: str, **query: str) -> Json:
        """Read one object or a list, `path` from the root: `/api/v1/nodes`."""
        return self._client.request("GET", path, **query)

    def create(self, path: str, body: Mapping[str, Any]) -> Json:
        """POST an object to its collection, and return it as stored."""
        return self._client.request("POST", path, body)

    def replace(self, path: str, body: Mapping[str, Any]) -> Json:
        """PUT an object, and return it as stored."""
        return self._client.request("PUT", path, body)

    def patch(self, path: str, body: Mapping[str, Any], content_type: str = MERGE_PATCH) -> Json:
        """Patch an object, and return it as stored."""
        return self._client.request("PATCH", path, body, content_type=content_type)

    def delete(self, path: str, *, grace_period_s: int | None = None) -> Json:
        """Delete an object; 0 s of grace removes a pod at once (force-delete), None is the object's own."""
        options = {} if grace_period_s is None else {"gracePeriodSeconds": grace_period_s}
        return self._client.request("DELETE", path, options)

    def close(self) -> None:
        """Close the idle connections."""
        self._client.close()

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
        return self._client.find(path) is not None

    def wait_served(self, collection: str) -> None:
        """Wait until a kind that was just defined can be listed and found: 404 first, then 429 for its storage."""
        group, _, plural = collection.rpartition("/")

        def served() -> bool:
            try:
                self.get(collection)
                return plural in {each["name"] for each in self.get(group)["resources"]}
            except FailureStatusError as error:
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
        except FailureStatusError as error:
            if error.status != 404:
                raise


def _refusal(pod: Json) -> str | None:
    for condition in pod.get("status", {}).get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return str(condition.get("message", ""))
    return None
