"""Send the product's requests to the Kubernetes API server: lists, watches, reads and writes, as bytes in and out.

The official client's models cost a hundred times more than the JSON inside them, so it only reads the configuration
(`extender.kube.credentials`) and requests go to urllib3 directly.
"""

import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast
from urllib.parse import parse_qsl, quote, urlencode

import msgspec
import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ProxyError

from extender.kube.credentials import Credentials, WriteHealth, load_credentials
from extender.kube.errors import AnswerTooLargeError, ApiError, ApiUnreachable, error_of_answer, is_success
from extender.kube.objects import UNKNOWN, UNREADABLE, Identity
from extender.kube.watchstream import BLOCK_BYTES, SILENCE_S, WatchStream

SERVICE_ACCOUNT_DIR = Path("/var/run/secrets/kubernetes.io/serviceaccount")
CONNECT_TIMEOUT_S = 5.0
REQUEST_TIMEOUT_S = 10.0
_JSON = "application/json"
_MERGE_PATCH = "application/merge-patch+json"
_TEXT_BYTES = 200
"""What is told of an answer that makes no sense."""

_NEVER_SENT = (NewConnectionError, ConnectTimeoutError, ProxyError)


class KubeApi:
    """Requests to one API server; safe to use from many threads.

    A path may carry selectors as its query string. Every method raises `ApiError` for an answer other than 2xx and
    `ApiUnreachable` for none, within about twice its timeout. A write is done only when the answer is what an API
    server says then: the object, or a Status of success; any other 2xx is none. Nothing is retried here: the caller
    knows what a second try would mean. `writes.problem` says whether writes keep failing.
    """

    def __init__(self, credentials: Credentials, clock: Callable[[], float] = time.monotonic) -> None:
        self._credentials = credentials
        self.writes = WriteHealth(clock)

    def list_page(
        self, path: str, limit: int, continue_token: str, timeout_s: float, max_bytes: int | None = None
    ) -> bytes:
        """One page of at most `limit` objects (0: all of them) of the newest state of a collection.

        Raises:
            AnswerTooLargeError: it is longer than `max_bytes`.
        """
        query = [("limit", str(limit))] if limit else []
        if continue_token:
            query.append(("continue", continue_token))
        deadline = time.monotonic() + timeout_s
        return _read_body(self._send("GET", path, timeout_s, query=query), deadline, max_bytes)

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
        return WatchStream(self._send("GET", path, silence_s, query=query), on_break=self._credentials.leave_pool)

    def read(self, path: str, timeout_s: float = REQUEST_TIMEOUT_S) -> bytes:
        """The answer to a GET, of an object from the newest state (not from a cache), whatever it is."""
        deadline = time.monotonic() + timeout_s
        return _read_body(self._send("GET", path, timeout_s), deadline)

    def create(self, path: str, body: Mapping[str, object], timeout_s: float = REQUEST_TIMEOUT_S) -> bytes:
        """Create an object in a collection, or ask for a review; the object as the server answers it."""
        return self._write("POST", path, body, _JSON, timeout_s, _is_object)

    def patch(self, path: str, body: Mapping[str, object], timeout_s: float = REQUEST_TIMEOUT_S) -> bytes:
        """Apply a JSON merge patch, in which None removes a field; the object as it is afterwards.

        `metadata.uid` and `metadata.resourceVersion` in the patch are preconditions: when the object has another one,
        the answer is 409 (or 422 for the UID of a namesake).
        """
        name = object_in(path)[1]
        return self._write("PATCH", path, body, _MERGE_PATCH, timeout_s, lambda answer: _is_object(answer, name))

    def bind_pod(  # noqa: PLR0917 - the parts of one Binding, in the order of the API
        self,
        namespace: str,
        name: str,
        uid: str,
        node: str,
        annotations: Mapping[str, str],
        timeout_s: float = REQUEST_TIMEOUT_S,
        *,
        resource_version: int = 0,
    ) -> None:
        """Bind the pod to `node` and merge `annotations` into it, in one write, if it is still of this UID and version.

        A `resource_version` of 0 is any.

        Raises:
            ApiError: 409 when the pod is bound already or has another UID or version, 404 when it is gone.
            ApiUnreachable: with `sent` true the pod may be bound, now or later, for as long as it has that version.
        """
        metadata = {
            "name": name,
            "namespace": namespace,
            "uid": uid,
            **({"resourceVersion": str(resource_version)} if resource_version else {}),
            "annotations": dict(annotations),
        }
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": metadata,
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        self._write("POST", f"{pod_path(namespace, name)}/binding", body, _JSON, timeout_s, is_success)

    def close(self) -> None:
        """Close the idle connections; open watches go on until they are closed."""
        self._credentials.close()

    def _write(  # noqa: PLR0917 - one request's parts
        self,
        method: str,
        path: str,
        body: Mapping[str, object],
        content_type: str,
        timeout_s: float,
        is_done: Callable[[bytes], bool],
    ) -> bytes:
        kind = f"{method} {_resource_of(path)}"
        deadline = time.monotonic() + timeout_s
        try:
            answer = _read_body(self._send(method, path, timeout_s, body=body, content_type=content_type), deadline)
            _check(method, path, answer, is_done)
        except (ApiError, ApiUnreachable) as error:
            if _is_failure(error):
                self.writes.failed(kind, str(error))
            elif isinstance(error, ApiError) and error.status != 429:
                self.writes.succeeded(kind)  # it got as far as the object that it is about
            raise
        self.writes.succeeded(kind)
        return answer

    def _send(
        self,
        method: str,
        path: str,
        timeout_s: float,
        *,
        query: Sequence[tuple[str, str]] = (),
        body: Mapping[str, object] | None = None,
        content_type: str | None = None,
    ) -> urllib3.HTTPResponse:
        """Send one request and return its 2xx answer, body not yet read; redirections are not followed."""
        deadline = time.monotonic() + timeout_s
        try:
            pool, headers = self._credentials.pool(), self._credentials.headers(content_type)
        except Exception as error:  # a program, a file, YAML: the official client raises what they raise
            raise ApiUnreachable(f"{method} {path}: credentials can't be read: {error}", sent=False) from error
        resource, _, selectors = path.partition("?")
        parameters = [*parse_qsl(selectors), *query]
        url = f"{self._credentials.server}{resource}"
        try:
            answer = pool.urlopen(
                method,
                f"{url}?{urlencode(parameters, quote_via=quote)}" if parameters else url,
                body=None if body is None else msgspec.json.encode(body),
                headers=headers,
                timeout=urllib3.Timeout(connect=min(CONNECT_TIMEOUT_S, timeout_s), read=timeout_s),
                redirect=False,
                preload_content=False,
            )
        except (HTTPError, OSError) as error:
            self._credentials.doubt()
            raise _unreachable(method, path, error) from error
        response = cast("urllib3.HTTPResponse", answer)  # what HTTP/1.1 connections give
        if 200 <= response.status <= 299:
            return response
        text = b""
        with suppress(ApiUnreachable):
            text = _read_body(response, deadline)
        refusal = error_of_answer(response.status, response.reason or "", response.headers, text)
        if refusal.status == 401:
            self._credentials.doubt()
        raise refusal


def connect(
    kubeconfig: str | None,
    *,
    context: str | None = None,
    service_account_dir: Path = SERVICE_ACCOUNT_DIR,
    user_agent: str = "gpupack-extender",
) -> KubeApi:
    """Prepare requests to the API server of a kubeconfig file, or of the cluster that this pod runs in when None.

    No request is made. Tokens and certificates are read again when their files change.

    Args:
        kubeconfig: a file, or several with the path separator between, which are merged; absent ones are passed over.
        context: of the kubeconfig; None for the current one, of several files that of the last.
        service_account_dir: where the service account is mounted.
        user_agent: how the API server's audit log names the caller.

    Raises:
        KubeConfigError: the file, the context, the service account or a certificate can't be used.
    """
    return KubeApi(load_credentials(kubeconfig, context, service_account_dir, user_agent))


def pod_path(namespace: str, name: str) -> str:
    """Path of a pod.

    Raises:
        ValueError: not names of Kubernetes objects.
    """
    return f"{_namespace_path(namespace)}/pods/{_segment('name', name)}"


def claim_path(namespace: str, name: str) -> str:
    """Path of a PersistentVolumeClaim.

    Raises:
        ValueError: not names of Kubernetes objects.
    """
    return f"{_namespace_path(namespace)}/persistentvolumeclaims/{_segment('name', name)}"


def node_path(name: str) -> str:
    """Path of a node.

    Raises:
        ValueError: not the name of a Kubernetes object.
    """
    return f"/api/v1/nodes/{_segment('name', name)}"


def events_path(namespace: str, name: str = "") -> str:
    """Path of a namespace's core/v1 Events, or of the one of that name.

    Raises:
        ValueError: not names of Kubernetes objects.
    """
    events = f"{_namespace_path(namespace)}/events"
    return f"{events}/{_segment('name', name)}" if name else events


def _namespace_path(namespace: str) -> str:
    return f"/api/v1/namespaces/{_segment('namespace', namespace)}"


def _segment(field: str, value: str) -> str:
    """`value` as one segment of a path, as the API server itself restricts it (path.IsValidPathSegmentName)."""
    if not value or value in (".", "..") or not set(value).isdisjoint("/%?#{}") or not value.isprintable():
        raise ValueError(f"{field} {value!r}: expected a Kubernetes object's name")
    return value


def _read_body(response: urllib3.HTTPResponse, deadline: float, max_bytes: int | None = None) -> bytes:
    """The whole body, by `deadline` on the monotonic clock; a body that comes too slowly or ends early is no answer."""
    blocks, size = [], 0
    try:
        while block := response.read1(BLOCK_BYTES):
            blocks.append(block)
            size += len(block)
            if max_bytes is not None and size > max_bytes:
                raise AnswerTooLargeError(f"answer of more than {max_bytes} bytes")
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
    # A rejected certificate ends the handshake before the request.
    never_sent = isinstance(error, _NEVER_SENT) or isinstance(_tls_error(error), ssl.SSLCertVerificationError)
    return ApiUnreachable(f"{method} {path}: {error}", sent=not never_sent)


def _tls_error(error: Exception) -> ssl.SSLError | None:
    """The error of the TLS library that urllib3 has wrapped into its own, if any."""
    cause = error.__context__ if error.__context__ is not None else error
    return next((each for each in (cause, *cause.args) if isinstance(each, ssl.SSLError)), None)


def _check(method: str, path: str, answer: bytes, is_done: Callable[[bytes], bool]) -> None:
    if not is_done(answer):
        text = answer[:_TEXT_BYTES].decode("utf-8", "replace")
        raise ApiUnreachable(f"{method} {path}: not an API server's answer: {text!r}", sent=True)


def _is_failure(error: ApiError | ApiUnreachable) -> bool:
    """Whether a write failed for what concerns all of its kind: credentials, rights, an API server in trouble.

    A refusal of this one object is none.
    """
    if isinstance(error, ApiUnreachable) or error.about is None:
        return True
    # Admission refuses single objects with 403, too; what has no right is named.
    return error.status == 401 or error.status >= 500 or (error.status == 403 and 'User "' in error.message)


class _Answered(msgspec.Struct, gc=False):
    kind: str
    metadata: Identity = UNKNOWN


_DECODE_ANSWERED = msgspec.json.Decoder(_Answered).decode


def _is_object(answer: bytes, name: str = "") -> bool:
    """Whether this is an object of the API (of this name, if one is given), or a Status of success."""
    try:
        found = _DECODE_ANSWERED(answer)
    except UNREADABLE:
        return False
    if found.kind == "Status":
        return not name and is_success(answer)
    return bool(found.kind) and name in ("", found.metadata.name)


def object_in(path: str) -> tuple[str, str]:
    """Resource and name of the object that a path leads to, as a Status names them: `("pods", "train-0")`."""
    parts = _parts_of(path)
    return parts[0], parts[1] if len(parts) > 1 else ""


def _resource_of(path: str) -> str:
    """The resource of a path, with its subresource: `pods/binding`."""
    parts = _parts_of(path)
    return "/".join([*parts[:1], *parts[2:3]])


def _parts_of(path: str) -> list[str]:
    """Resource, name and subresource, as far as the path has them."""
    parts = path.partition("?")[0].strip("/").split("/")
    parts = parts[2:] if parts[0] == "api" else parts[3:]
    return parts[2:] if parts[:1] == ["namespaces"] and len(parts) > 2 else parts
