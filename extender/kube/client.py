"""From calls to HTTP requests to the API server and back: lists, watches, and the few writes that the extender makes.

The official client reads the configuration, knows the credentials and owns the connections; bodies are passed as bytes
in both directions, because its models cost a hundred times more than the JSON inside them. It is imported when the
first connection is made, since that takes a third of a second.
"""

import os
import ssl
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ProxyError

from extender.kube.bindings import binding
from extender.kube.errors import ApiError, ApiUnreachable, KubeConfigError, error_of_answer
from extender.kube.paths import pod_path, segment
from extender.kube.transport import Transport
from extender.kube.watchstream import BLOCK_BYTES, WatchStream

__all__ = ["ApiError", "ApiUnreachable", "KubeApi", "KubeConfigError", "connect"]

SERVICE_ACCOUNT_DIR = Path("/var/run/secrets/kubernetes.io/serviceaccount")
POOL_CONNECTIONS = 80
"""Kept open: 64 binds at a time, the watches, and a few single requests beside them."""

CONNECT_TIMEOUT_S = 5.0
REQUEST_TIMEOUT_S = 10.0
SILENCE_S = 150.0
"""A watch without a byte for this long is dead: bookmarks come about once a minute."""

_MERGE_PATCH = "application/merge-patch+json"
_NEVER_SENT = (NewConnectionError, ConnectTimeoutError, ProxyError)


class KubeApi:
    """Requests to one API server; safe to use from many threads.

    Every method raises `ApiError` for an answer other than 2xx and `ApiUnreachable` for none, within about twice its
    timeout. Nothing is retried here: the caller knows what a second try would mean.
    """

    def __init__(self, client: Any) -> None:
        """Take a `kubernetes.client.ApiClient`; `connect` makes one that suits."""
        self._client = client
        self._transport = Transport(client)

    def list_page(
        self, path: str, limit: int, continue_token: str, timeout_s: float, resource_version: str | None = None
    ) -> bytes:
        """One page of at most `limit` objects (0: all of them) of a collection such as `/api/v1/pods`, as JSON.

        `path` may carry selectors as its query string. Without `resource_version` the answer is the newest state.
        """
        query = [("limit", str(limit))] if limit else []
        if continue_token:
            query.append(("continue", continue_token))
        if resource_version is not None:
            query.append(("resourceVersion", resource_version))
        deadline = time.monotonic() + timeout_s
        return _read_body(self._send("GET", path, query=query, timeout_s=timeout_s), deadline)

    def watch(self, path: str, resource_version: str, timeout_s: float, silence_s: float = SILENCE_S) -> WatchStream:
        """Open a watch of a collection after `resource_version`, bookmarks included.

        The server ends it after `timeout_s`; no byte for `silence_s` breaks it.
        """
        query = [
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", resource_version),
            ("timeoutSeconds", str(max(1, int(timeout_s)))),
        ]
        return WatchStream(self._send("GET", path, query=query, timeout_s=silence_s))

    def read(self, path: str, timeout_s: float = REQUEST_TIMEOUT_S) -> bytes:
        """The answer to a GET of any path, which may carry a query string."""
        deadline = time.monotonic() + timeout_s
        return _read_body(self._send("GET", path, timeout_s=timeout_s), deadline)

    def get_pod(self, namespace: str, name: str, timeout_s: float = REQUEST_TIMEOUT_S) -> bytes:
        """The pod's JSON, read from the newest state (not from a cache)."""
        deadline = time.monotonic() + timeout_s
        return _read_body(self._send("GET", pod_path(namespace, name), timeout_s=timeout_s), deadline)

    def bind_pod(  # noqa: PLR0917 - the parts of one Binding, in the order of the API
        self,
        namespace: str,
        name: str,
        uid: str,
        node: str,
        annotations: Mapping[str, str],
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> None:
        """Bind the pod to `node` and merge `annotations` into it, in one write, if it still has this `uid`.

        Raises:
            ApiError: 409 when the pod is bound already or has another UID, 404 when it is gone.
            ApiUnreachable: with `sent` true the pod may be bound: read it before giving its place away.
        """
        body = binding(namespace, name, uid, node, annotations)
        self._write("POST", f"{pod_path(namespace, name)}/binding", body, timeout_s)

    def annotate_pod(
        self,
        namespace: str,
        name: str,
        uid: str,
        annotations: Mapping[str, str | None],
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> None:
        """Set annotations of the pod (None removes one) if it still has this `uid`; else `ApiError` 409 or 422."""
        body = {"metadata": {"uid": uid, "annotations": dict(annotations)}}
        self._write("PATCH", pod_path(namespace, name), body, timeout_s, content_type=_MERGE_PATCH)

    def annotate_node(
        self,
        name: str,
        resource_version: str,
        annotations: Mapping[str, str | None],
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> None:
        """Set annotations of the node (None removes one) if it is still of this version; else `ApiError` 409."""
        body = {"metadata": {"resourceVersion": resource_version, "annotations": dict(annotations)}}
        path = f"/api/v1/nodes/{segment('name', name)}"
        self._write("PATCH", path, body, timeout_s, content_type=_MERGE_PATCH)

    def create(self, path: str, body: Mapping[str, object], timeout_s: float = REQUEST_TIMEOUT_S) -> bytes:
        """Create an object in a collection, or ask for a review, from JSON; the object as the server answers it."""
        deadline = time.monotonic() + timeout_s
        answer = self._send("POST", path, body=dict(body), content_type="application/json", timeout_s=timeout_s)
        return _read_body(answer, deadline)

    def create_event(self, namespace: str, body: Mapping[str, object], timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        """Create a core/v1 Event from its JSON object."""
        self._write("POST", f"/api/v1/namespaces/{segment('namespace', namespace)}/events", dict(body), timeout_s)

    def patch_event(
        self, namespace: str, name: str, change: Mapping[str, object], timeout_s: float = REQUEST_TIMEOUT_S
    ) -> None:
        """Change fields of a core/v1 Event."""
        path = f"/api/v1/namespaces/{segment('namespace', namespace)}/events/{segment('name', name)}"
        self._write("PATCH", path, dict(change), timeout_s, content_type=_MERGE_PATCH)

    def close(self) -> None:
        """Close the idle connections; open watches go on until they are closed."""
        self._client.close()

    def _write(
        self, method: str, path: str, body: dict[str, Any], timeout_s: float, content_type: str = "application/json"
    ) -> None:
        deadline = time.monotonic() + timeout_s
        response = self._send(method, path, body=body, content_type=content_type, timeout_s=timeout_s)
        # The status line says that it is done. What follows is read only to keep the connection usable.
        with suppress(ApiUnreachable):
            _read_body(response, deadline)

    def _send(
        self,
        method: str,
        path: str,
        *,
        timeout_s: float,
        query: Sequence[tuple[str, str]] = (),
        body: dict[str, Any] | None = None,
        content_type: str | None = None,
    ) -> urllib3.HTTPResponse:
        """Send one request and return its 2xx answer, body not yet read."""
        from kubernetes.config import ConfigException  # noqa: PLC0415 - imported late, see the module

        resource, _, selectors = path.partition("?")
        deadline = time.monotonic() + timeout_s
        try:
            headers = self._transport.headers(content_type)
        except (ConfigException, OSError) as error:
            raise ApiUnreachable(f"{method} {path}: credentials can't be read: {error}", sent=False) from error
        try:
            response = self._transport.open(
                method,
                resource,
                headers=headers,
                timeout=urllib3.Timeout(connect=min(CONNECT_TIMEOUT_S, timeout_s), read=timeout_s),
                query=[*parse_qsl(selectors), *query],
                body=body,
            )
        except (HTTPError, OSError) as error:
            raise _unreachable(method, path, error) from error
        if 200 <= response.status <= 299:
            return response
        text = b""
        with suppress(ApiUnreachable):
            text = _read_body(response, deadline)
        raise error_of_answer(response.status, response.reason or "", response.headers, text)


def connect(
    kubeconfig: str | None,
    *,
    context: str | None = None,
    service_account_dir: Path = SERVICE_ACCOUNT_DIR,
    user_agent: str = "gpupack-extender",
) -> KubeApi:
    """Prepare requests to the API server of a kubeconfig file, or of the cluster that this pod runs in when None.

    No request is made. A service account's token is read again every minute, as it is rotated.

    Args:
        kubeconfig: a file, or several with the path separator between, which are merged; absent ones are passed over.
        context: of the kubeconfig; None for the current one, of several files that of the last.
        service_account_dir: where the service account is mounted.
        user_agent: how the API server's audit log names the caller.

    Raises:
        KubeConfigError: the file, the context, the service account or a certificate can't be used.
    """
    from kubernetes import client  # noqa: PLC0415 - imported late, see the module

    settings: Any = client.Configuration()
    try:
        _load(settings, kubeconfig, context, service_account_dir)
        # False is urllib3's "raise at once": nothing is sent a second time behind our back.
        settings.retries = False
        settings.keep_alive = True
        settings.connection_pool_maxsize = POOL_CONNECTIONS
        api = client.ApiClient(settings)
    except Exception as error:  # the client raises whatever YAML, base64, TLS and the file system raise
        source = f"service account in {service_account_dir}" if kubeconfig is None else f"kubeconfig {kubeconfig}"
        raise KubeConfigError(f"{source}: {error}") from error
    api.user_agent = user_agent
    return KubeApi(api)


def _load(settings: Any, kubeconfig: str | None, context: str | None, service_account_dir: Path) -> None:
    """Fill the client's settings from the file, or from the service account and the pod's environment."""
    from kubernetes import config  # noqa: PLC0415 - imported late, see the module

    loaders: Any = config  # without types in the client
    if kubeconfig is None:
        token, certificate = service_account_dir / "token", service_account_dir / "ca.crt"
        loaders.incluster_config.InClusterConfigLoader(str(token), str(certificate)).load_and_set(settings)
        return
    named = [Path(part).expanduser() for part in kubeconfig.split(os.pathsep) if part]
    files = os.pathsep.join(str(file) for file in named if file.is_file())
    if not files:
        raise FileNotFoundError("no such file")
    # Not persisted: a refreshed token of the admin's own file is theirs to write.
    loaders.load_kube_config(files, context=context, client_configuration=settings, persist_config=False)


def _read_body(response: urllib3.HTTPResponse, deadline: float) -> bytes:
    """The whole body, by `deadline` on the monotonic clock; a body that comes too slowly or ends early is no answer."""
    blocks = []
    try:
        while block := response.read1(BLOCK_BYTES):
            blocks.append(block)
            if time.monotonic() > deadline:
                raise ApiUnreachable(f"answer {response.status} came too slowly", sent=True)
    except (HTTPError, OSError) as error:
        raise ApiUnreachable(f"answer {response.status} broke off: {error}", sent=True) from error
    finally:
        if not response.isclosed():
            response.close()
        response.release_conn()
    return b"".join(blocks)


def _unreachable(method: str, path: str, error: Exception) -> ApiUnreachable:
    """What a failed exchange means; in doubt the request may have been executed."""
    # The client wraps TLS errors into its own exception; a rejected certificate ends the handshake before the request.
    cause = error.__context__ if error.__context__ is not None else error
    refused_tls = any(isinstance(arg, ssl.SSLCertVerificationError) for arg in (cause, *cause.args))
    return ApiUnreachable(f"{method} {path}: {error}", sent=not (isinstance(error, _NEVER_SENT) or refused_tls))
