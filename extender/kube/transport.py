"""From a request's parts to the answer of the API server, over the connections of the official client.

The client reads the configuration, the credentials and the TLS settings; its own way of sending a request copies and
checks it several times, which costs as much as the request does, so requests go to its pool directly.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast
from urllib.parse import quote, urlencode

import msgspec
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import parse_url


class _InOnePiece:
    """A connection that sends head and body together: one by one they cost two system calls and two TLS records."""

    _gathered: list[Any] | None = None

    def request(self, *args: Any, **kwargs: Any) -> None:
        """As urllib3's."""
        self._gathered = []
        try:
            super().request(*args, **kwargs)  # type: ignore[misc] # mixed into urllib3's connections
            pieces = self._gathered
        finally:
            self._gathered = None
        self.send(b"".join(pieces))

    def send(self, data: Any) -> None:
        """As http.client's."""
        if self._gathered is None:
            super().send(data)  # type: ignore[misc] # the same
        else:
            self._gathered.append(data)


class _HttpConnection(_InOnePiece, HTTPConnection):
    pass


class _HttpsConnection(_InOnePiece, HTTPSConnection):
    pass


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


class Transport:
    """Sends requests for one `kubernetes.client.ApiClient`; safe to use from many threads."""

    def __init__(self, client: Any) -> None:
        self._client = client
        manager = client.rest_client.pool_manager
        host = client.configuration.host
        self._pool: urllib3.HTTPConnectionPool | urllib3.PoolManager
        if type(manager) is urllib3.PoolManager:
            manager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
            self._pool, self._prefix = manager.connection_from_url(host), (parse_url(host).path or "").rstrip("/")
        else:
            # A proxy wants to know the whole address.
            self._pool, self._prefix = manager, host

    def open(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        timeout: urllib3.Timeout,
        query: Sequence[tuple[str, str]] = (),
        body: Mapping[str, Any] | None = None,
    ) -> urllib3.HTTPResponse:
        """Send with these `headers`, and return the answer with its body not yet read; redirections are not followed.

        Raises:
            urllib3.exceptions.HTTPError, OSError: there is no answer.
        """
        url = f"{self._prefix}{path}?{urlencode(query, quote_via=quote)}" if query else f"{self._prefix}{path}"
        data = None if body is None else msgspec.json.encode(body)
        answer = self._pool.urlopen(
            method, url, body=data, headers=headers, timeout=timeout, redirect=False, preload_content=False
        )
        return cast("urllib3.HTTPResponse", answer)  # what HTTP/1.1 connections give

    def headers(self, content_type: str | None = None) -> dict[str, str]:
        """Headers of a request made now: a token that is rotated is read again.

        Raises:
            kubernetes.config.ConfigException, OSError: credentials can't be read.
        """
        headers = {**self._client.default_headers, "Accept": "application/json"}
        for credential in self._client.configuration.auth_settings().values():
            headers[credential["key"]] = credential["value"]
        if content_type is not None:
            headers["Content-Type"] = content_type
        return headers
