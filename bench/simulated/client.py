"""Calls an API server, simulated or real, with the access that a kubeconfig gives, and returns decoded objects."""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import urllib3
import yaml

from bench.simulated.waiting import wait_until

Body = dict[str, Any]
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
_PAGE = 500


@dataclass(frozen=True, slots=True)
class ApiAccess:
    """How to reach an API server: address, CA and client credentials; paths of PEM files, empty where unused."""

    server: str
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    token: str = ""


def write_kubeconfig(path: Path, access: ApiAccess) -> Path:
    """Write a kubeconfig with one cluster, user and context, all called "test", and return its path."""
    cluster = {"server": access.server, "certificate-authority": access.ca_file}
    user = {"client-certificate": access.cert_file, "client-key": access.key_file, "token": access.token}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {key: value for key, value in cluster.items() if value}}],
        "users": [{"name": "test", "user": {key: value for key, value in user.items() if value}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    path.chmod(0o600)
    return path


def read_kubeconfig(path: Path) -> ApiAccess:
    """Read the current context of a kubeconfig; embedded certificates go to temporary files until this process ends.

    Raises:
        ConfigException: the file names no current context, or one that is not there.
    """
    from kubernetes import client, config  # noqa: PLC0415 - imported late: it takes a fifth of a second

    loaders: Any = config  # without types in the client
    found: Any = client.Configuration()
    loaders.load_kube_config(str(path), client_configuration=found, persist_config=False)
    token = found.api_key.get("BearerToken", "").removeprefix("Bearer ")
    return ApiAccess(found.host, found.ssl_ca_cert or "", found.cert_file or "", found.key_file or "", token)


class FailureStatusError(Exception):
    """The API server answered with a failure Status."""

    def __init__(self, request: str, status: int, body: bytes) -> None:
        try:
            decoded = msgspec.json.decode(body, type=dict[str, Any])
        except msgspec.MsgspecError:
            decoded = {"message": body[:300].decode("utf-8", "replace")}
        self.status = status
        self.reason = str(decoded.get("reason", ""))
        self.message = str(decoded.get("message", ""))
        super().__init__(f"{request} answered {status} {self.reason}: {self.message}")


class UnreachableError(Exception):
    """The API server could not be reached, or did not answer."""


def pods_path(namespace: str, name: str = "", subresource: str = "") -> str:
    """The path of pods, of one pod, or of a part of it."""
    steps = [step for step in (name, subresource) if step]
    return "/".join([f"/api/v1/namespaces/{namespace}/pods", *steps])


class ClusterClient:
    """A client of one API server; safe to use from several threads.

    Args:
        access: address and credentials.
        timeout_s: how long a call may take.
        connections: connections kept open.
    """

    def __init__(self, access: ApiAccess, *, timeout_s: float = 30.0, connections: int = 16) -> None:
        self._server = access.server
        self._timeout_s = timeout_s
        self._headers = {"Authorization": f"Bearer {access.token}"} if access.token else {}
        self._pool = urllib3.PoolManager(
            maxsize=connections,
            retries=False,
            ca_certs=access.ca_file or None,
            cert_file=access.cert_file or None,
            key_file=access.key_file or None,
        )

    @classmethod
    def from_kubeconfig(cls, path: Path, *, timeout_s: float = 30.0) -> "ClusterClient":
        """A client of the current context of a kubeconfig file.

        Raises:
            ConfigException: the file does not say where to go.
        """
        return cls(read_kubeconfig(path), timeout_s=timeout_s)

    def close(self) -> None:
        """Close the kept connections."""
        self._pool.clear()

    def request(
        self, method: str, path: str, body: object = None, *, content_type: str = "application/json", **query: str
    ) -> Body:
        """One call.

        Raises:
            RequestError: a failure Status.
            UnreachableError: no answer.
        """
        url = f"{self._server}{path}?{urlencode(query)}" if query else f"{self._server}{path}"
        headers = {**self._headers, "Accept": "application/json"}
        data = None
        if body is not None:
            headers["Content-Type"] = content_type
            data = msgspec.json.encode(body)
        try:
            reply = self._pool.request(method, url, body=data, headers=headers, timeout=self._timeout_s)
        except urllib3.exceptions.HTTPError as error:
            raise UnreachableError(f"{method} {path}: {error}") from error
        if reply.status >= 300:
            raise FailureStatusError(f"{method} {path}", reply.status, reply.data)
        return msgspec.json.decode(reply.data, type=dict[str, Any])

    def stream(self, path: str, *, read_timeout_s: float, **query: str) -> Generator[bytes]:
        """The lines of a watch, until it ends.

        Raises:
            RequestError: a failure Status instead of a stream.
            UnreachableError: the connection broke, or was silent for `read_timeout_s`.
        """
        url = f"{self._server}{path}?{urlencode({**query, 'watch': 'true'})}"
        timeout = urllib3.Timeout(connect=self._timeout_s, read=read_timeout_s)
        reply = None
        try:
            reply = self._pool.request("GET", url, headers=self._headers, preload_content=False, timeout=timeout)
            if reply.status >= 300:
                raise FailureStatusError(f"WATCH {path}", reply.status, reply.read())
            yield from _lines(reply)
        except urllib3.exceptions.HTTPError as error:
            raise UnreachableError(f"WATCH {path}: {error}") from error
        finally:
            if reply is not None:
                # Closed, not given back: a watch left half-way must not be reused.
                reply.close()

    def list_all(self, path: str, **query: str) -> tuple[list[Body], str]:
        """Every object of a collection, page by page, and the resourceVersion of the list.

        Raises:
            RequestError: also 410 when a page came too late.
            UnreachableError: no answer.
        """
        items: list[Body] = []
        token = ""
        while True:
            page = {**query, "limit": str(_PAGE), **({"continue": token} if token else {})}
            reply = self.request("GET", path, **page)
            items += reply.get("items") or []
            token = reply["metadata"].get("continue", "")
            if not token:
                return items, reply["metadata"]["resourceVersion"]

    def find(self, path: str) -> Body | None:
        """One object, None when it is not there.

        Raises:
            RequestError: any failure but 404.
            UnreachableError: no answer.
        """
        try:
            return self.request("GET", path)
        except FailureStatusError as error:
            if error.status == 404:
                return None
            raise

    def pod(self, name: str, namespace: str = "default") -> Body | None:
        """A pod, None when it is not there."""
        return self.find(pods_path(namespace, name))

    def pods(self, namespace: str = "", **query: str) -> list[Body]:
        """Pods of a namespace or of all."""
        return self.list_all(pods_path(namespace) if namespace else "/api/v1/pods", **query)[0]

    def create_pod(self, body: Mapping[str, Any], namespace: str = "default") -> Body:
        """Create a pod, and return it as stored."""
        return self.request("POST", pods_path(namespace), body)

    def delete_pod(
        self, name: str, namespace: str = "default", *, grace_s: int | None = None, uid: str = ""
    ) -> Body | None:
        """Delete a pod; None when there is none (or, with `uid`, another one)."""
        options: Body = {} if grace_s is None else {"gracePeriodSeconds": grace_s}
        if uid:
            options["preconditions"] = {"uid": uid}
        try:
            return self.request("DELETE", pods_path(namespace, name), options)
        except FailureStatusError as error:
            if error.status == 404 or (uid and error.status == 409):
                return None
            raise

    def patch_pod(self, name: str, patch: Body, namespace: str = "default", *, subresource: str = "") -> Body:
        """Merge-patch a pod's metadata, or with `subresource` "status" strategically its status."""
        kind = STRATEGIC_PATCH if subresource else MERGE_PATCH
        return self.request("PATCH", pods_path(namespace, name, subresource), patch, content_type=kind)

    def bind_pod(self, name: str, node: str, namespace: str = "default", **metadata: Any) -> None:
        """Bind a pod; `metadata` (uid, annotations, labels) goes into the Binding."""
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace, **metadata},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        self.request("POST", pods_path(namespace, name, "binding"), body)

    def node(self, name: str) -> Body | None:
        """A node, None when it is not there."""
        return self.find(f"/api/v1/nodes/{name}")

    def create_node(self, body: Mapping[str, Any]) -> Body:
        """Create a node without the taint that keeps pods off new ones."""
        created = self.request("POST", "/api/v1/nodes", body)
        wanted = (body.get("spec") or {}).get("taints")
        patched = self.patch_node(created["metadata"]["name"], {"spec": {"taints": wanted}})
        if created.get("status", {}).get("capacity") != (body.get("status") or {}).get("capacity"):
            return self.patch_node(created["metadata"]["name"], {"status": body["status"]}, subresource="status")
        return patched

    def patch_node(self, name: str, patch: Body, *, subresource: str = "") -> Body:
        """Merge-patch a node, or with `subresource` "status" strategically its status."""
        kind = STRATEGIC_PATCH if subresource else MERGE_PATCH
        path = f"/api/v1/nodes/{name}/{subresource}" if subresource else f"/api/v1/nodes/{name}"
        return self.request("PATCH", path, patch, content_type=kind)

    def delete_node(self, name: str) -> None:
        """Delete a node.

        Raises:
            RequestError: also 404.
        """
        self.request("DELETE", f"/api/v1/nodes/{name}")

    def events_of(self, name: str, namespace: str = "default") -> list[Body]:
        """The Events about the pod `name`."""
        selector = f"involvedObject.name={name}"
        return self.list_all(f"/api/v1/namespaces/{namespace}/events", fieldSelector=selector)[0]

    def wait_for_pod(
        self,
        name: str,
        condition: Callable[[Body], bool],
        what: str,
        *,
        namespace: str = "default",
        timeout_s: float = 30.0,
    ) -> Body:
        """Wait until a pod exists that meets `condition`, and return it.

        Raises:
            TimeoutError: none did within `timeout_s`.
        """

        def find() -> Body | None:
            pod = self.pod(name, namespace)
            return pod if pod is not None and condition(pod) else None

        return wait_until(find, f"pod {namespace}/{name}: {what}", timeout_s=timeout_s)

    def wait_for_phase(self, name: str, phase: str, *, namespace: str = "default", timeout_s: float = 30.0) -> Body:
        """Wait until a pod is in `phase`, and return it.

        Raises:
            TimeoutError: it was not within `timeout_s`.
        """
        return self.wait_for_pod(
            name, lambda pod: pod["status"].get("phase") == phase, phase, namespace=namespace, timeout_s=timeout_s
        )

    def wait_gone(self, name: str, namespace: str = "default", *, timeout_s: float = 30.0) -> None:
        """Wait until there is no pod of the name.

        Raises:
            TimeoutError: there was one all along.
        """
        wait_until(lambda: self.pod(name, namespace) is None, f"pod {namespace}/{name} to be gone", timeout_s=timeout_s)


def _lines(reply: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    rest = b""
    for data in reply.stream(1 << 20):
        *whole, rest = (rest + data).split(b"\n")
        yield from (line for line in whole if line)
