"""From a kubeconfig or service account to the API server's JSON: lists, watches and annotation patches.

The official client reads the configuration, keeps credentials fresh and sets TLS up; the requests themselves go
through its connection pool as raw bytes, since its typed models cost a hundred times more than decoding what is needed.
It takes a third of a second to import, hence late.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlencode

import msgspec
import urllib3

from device_plugin.pods.decoding import Page, WatchEvent, decode_event, decode_page, decode_status
from device_plugin.settings import SettingsError

PODS = "/api/v1/pods"
NODES = "/api/v1/nodes"

_CONNECT_TIMEOUT_S = 5.0
_LONGEST_LINE = 16 * 1024 * 1024
_PAGE = 500
_PATCH = "application/merge-patch+json"


class ApiError(Exception):
    """The API server answered with an error.

    Args:
        status: HTTP status, or the code of an ERROR event in a watch; 0 when there was no answer at all.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status} {message}" if status else message)
        self.status = status

    @property
    def is_gone(self) -> bool:
        """The object is not there, or is another one under that name by now (422: a patch cannot change the UID)."""
        return self.status in (404, 409, 422)

    @property
    def is_expired(self) -> bool:
        """The resourceVersion is too old: list again."""
        return self.status == 410


class Patching(Protocol):
    """Who can apply a JSON merge patch."""

    def patch(self, path: str, body: Mapping[str, object], timeout_s: float) -> bytes:
        """Apply it; returns the object as it is afterwards.

        Raises:
            ApiError: no answer in time, or an error; `is_gone` when metadata.uid in the body does not match.
        """
        ...


class Creating(Protocol):
    """Who can create objects."""

    def create(self, path: str, body: Mapping[str, object], timeout_s: float) -> bytes:
        """POST an object; returns the answer.

        Raises:
            ApiError: no answer in time, or an error.
        """
        ...


class Writing(Patching, Creating, Protocol):
    """Who can create objects and patch them."""


class NodeApi:
    """The few requests that a node agent makes; every one has a timeout. Safe to use from several threads."""

    def __init__(self, configuration: Any, pool: urllib3.PoolManager) -> None:
        self._configuration = configuration
        self._pool = pool

    def list(self, path: str, field_selector: str, timeout_s: float) -> Page:
        """All objects, as they are now by quorum, fetched in pages.

        Raises:
            ApiError: no answer in time, or an error.
            DecodingError: not a list.
        """
        deadline_s = time.monotonic() + timeout_s
        items: list[bytes] = []
        query = {"fieldSelector": field_selector, "limit": str(_PAGE)}
        while True:
            left_s = deadline_s - time.monotonic()
            page = decode_page(self._call("GET", f"{path}?{urlencode(query)}", left_s))
            items += page.items
            if not page.more:
                return Page(tuple(items), page.version, "")
            query["continue"] = page.more

    def get(self, path: str, timeout_s: float) -> bytes:
        """One object.

        Raises:
            ApiError: no answer in time, or an error.
        """
        return self._call("GET", path, timeout_s)

    def patch(self, path: str, body: Mapping[str, object], timeout_s: float) -> bytes:
        """Apply a JSON merge patch; returns the object as it is afterwards.

        Raises:
            ApiError: no answer in time, or an error; `is_gone` when metadata.uid in the body does not match.
        """
        return self._call("PATCH", path, timeout_s, msgspec.json.encode(body))

    def create(self, path: str, body: Mapping[str, object], timeout_s: float) -> bytes:
        """POST an object; returns the answer.

        Raises:
            ApiError: no answer in time, or an error.
        """
        return self._call("POST", path, timeout_s, msgspec.json.encode(body))

    def watch(self, path: str, field_selector: str, version: str, timeout_s: float) -> "Watch":
        """Open a watch behind a list; the server ends it after `timeout_s`.

        Raises:
            ApiError: no answer in time, or an error.
        """
        query = {
            "fieldSelector": field_selector,
            "resourceVersion": version,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(int(timeout_s)),
        }
        # Silence is normal on a quiet node; what ends a dead connection is the time after which the server would.
        return Watch(self._send("GET", f"{path}?{urlencode(query)}", timeout_s + 10.0))

    def close(self) -> None:
        """Close idle connections."""
        self._pool.clear()

    def _call(self, method: str, target: str, timeout_s: float, body: bytes | None = None) -> bytes:
        response = self._send(method, target, timeout_s, body)
        try:
            return bytes(response.data)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ApiError(0, f"{method} {target}: {error}") from error
        finally:
            response.release_conn()

    def _send(
        self, method: str, target: str, timeout_s: float, body: bytes | None = None
    ) -> urllib3.response.BaseHTTPResponse:
        headers = {"Accept": "application/json", "User-Agent": "gpupack-device-plugin"}
        if body is not None:
            headers["Content-Type"] = _PATCH if method == "PATCH" else "application/json"
        read_s = max(0.001, timeout_s)
        timeout = urllib3.Timeout(connect=min(_CONNECT_TIMEOUT_S, read_s), read=read_s)
        try:
            # Reads the token file again when it is old: service account tokens rotate.
            for scheme in self._configuration.auth_settings().values():
                if scheme["in"] == "header" and scheme["value"]:
                    headers[scheme["key"]] = scheme["value"]
            response = self._pool.request(
                method,
                self._configuration.host.rstrip("/") + target,
                body=body,
                headers=headers,
                timeout=timeout,
                retries=False,
                preload_content=False,
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ApiError(0, f"{method} {target}: {error}") from error
        if 200 <= response.status < 300:
            return response
        try:
            _, message = decode_status(response.data)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            message = str(error)
        finally:
            response.release_conn()
        raise ApiError(response.status, f"{method} {target}: {message}")


class Watch:
    """An open watch: iterate over its events in one thread, `abort` it from another."""

    def __init__(self, response: urllib3.response.BaseHTTPResponse) -> None:
        self._response = response
        self._aborted = False

    def __iter__(self) -> Iterator[WatchEvent]:
        """Events until the server ends the watch or `abort` does.

        Raises:
            ApiError: the connection broke, or the server sent an ERROR event.
            DecodingError: a line that is no event.
        """
        pending = b""
        try:
            for chunk in self._response.stream(64 * 1024):
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield _checked(decode_event(line))
                if len(pending) > _LONGEST_LINE:
                    raise ApiError(0, f"watch: a line of more than {_LONGEST_LINE} bytes")
        except (urllib3.exceptions.HTTPError, OSError, ValueError, AttributeError) as error:
            # urllib3 reports a connection that `abort` cut in the middle of a read as any of these.
            if not self._aborted:
                raise ApiError(0, f"watch: {error}") from error
        finally:
            self._response.close()

    def abort(self) -> None:
        """Make the iteration end soon, without an error."""
        self._aborted = True
        with contextlib.suppress(OSError, ValueError, RuntimeError, AttributeError):
            self._response.shutdown()


def _checked(event: WatchEvent) -> WatchEvent:
    if event.kind == "ERROR":
        code, message = decode_status(event.body)
        raise ApiError(code, f"watch: {message}")
    return event


def pod_path(namespace: str, name: str) -> str:
    """Path of one pod."""
    return f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(name, safe='')}"


def node_path(name: str) -> str:
    """Path of one node."""
    return f"{NODES}/{quote(name, safe='')}"


def connect(kubeconfig: Path | None) -> NodeApi:
    """Prepare requests to the API server of a kubeconfig file, or of the cluster that this pod runs in.

    Raises:
        SettingsError: the configuration cannot be read.
    """
    from kubernetes import client, config  # noqa: PLC0415 - a third of a second that --help need not pay

    configuration = client.Configuration()
    loaders: Any = config  # without types in some of the client's versions
    try:
        if kubeconfig is None:
            loaders.load_incluster_config(client_configuration=configuration)
        else:
            loaders.load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
        configuration.connection_pool_maxsize = 16
        configuration.retries = False
        pool = client.ApiClient(configuration).rest_client.pool_manager
    except Exception as error:  # the client raises its own, yaml's, ssl's and more
        where = "in-cluster service account" if kubeconfig is None else f"kubeconfig {str(kubeconfig)!r}"
        raise SettingsError(f"{where}: {error}") from error
    return NodeApi(configuration, pool)
