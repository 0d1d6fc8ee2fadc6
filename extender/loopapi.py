"""From a Binding to the API server and back within the event loop: the one write that somebody waits for.

Beside a thread and `extender.kubeapi` that saves a third of the processor time of a bind. Settings, credentials and
what the errors mean are the same.
"""

import asyncio
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from math import inf
from typing import Any

import aiohttp
import msgspec
from aiohttp.client_exceptions import ClientConnectorError, ClientError, ConnectionTimeoutError
from urllib3.util.ssl_ import create_urllib3_context

from extender.apierrors import ApiUnreachable, error_of_answer
from extender.bindings import binding
from extender.paths import pod_path
from extender.transport import Transport

CONNECTIONS = 80
"""As many binds as kube-scheduler has under way at a time, and some."""

IDLE_S = 60.0
"""API servers keep idle connections for longer; a server that closes first makes a bind uncertain."""

CONNECT_TIMEOUT_S = 5.0

CREDENTIALS_S = 30.0
"""For so long they are good without a look: the official client renews them minutes before they expire."""

_NO_ANSWER = (ClientError, OSError)
"""Timeouts are OSErrors."""

_NEVER_SENT = (ClientConnectorError, ConnectionTimeoutError)


def fits(configuration: Any) -> bool:
    """Whether the official client's configuration asks for nothing that only `extender.kubeapi` can do.

    Proxies and host names that are checked otherwise are left to threads.
    """
    return configuration.proxy is None and configuration.assert_hostname is None


class LoopApi:
    """Writes Bindings; for the tasks of one event loop, in which it is closed, too."""

    def __init__(self, configuration: Any, transport: Transport) -> None:
        """Take a `kubernetes.client.Configuration` that `fits` and who knows its credentials; nothing is connected yet.

        Raises:
            OSError, ssl.SSLError: a certificate can't be used.
        """
        self._transport = transport
        self._configuration = configuration
        self._base = configuration.host.rstrip("/")
        self._tls = _context(configuration) if self._base.startswith("https:") else None
        self._session: aiohttp.ClientSession | None = None
        self._known: dict[str, str] = {}
        self._known_s = -inf
        self._renewing = asyncio.Lock()

    async def bind_pod(  # noqa: PLR0917 - the parts of one Binding, in the order of the API
        self, namespace: str, name: str, uid: str, node: str, annotations: Mapping[str, str], timeout_s: float
    ) -> None:
        """As `extender.kubeapi.KubeApi.bind_pod`.

        Raises:
            ApiError: 409 when the pod is bound already or has another UID, 404 when it is gone.
            ApiUnreachable: with `sent` true the pod may be bound: read it before giving its place away.
        """
        path = f"{pod_path(namespace, name)}/binding"
        body = msgspec.json.encode(binding(namespace, name, uid, node, annotations))
        headers = await self._headers()
        timeout = aiohttp.ClientTimeout(
            total=2 * timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s), sock_read=timeout_s
        )
        try:
            async with self._opened().post(
                self._base + path,
                data=body,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
                server_hostname=self._configuration.tls_server_name or None,
            ) as answer:
                if 200 <= answer.status <= 299:
                    # The status line says that it is done. What follows is read only to keep the connection usable.
                    with suppress(*_NO_ANSWER):
                        await answer.read()
                    return
                text = b""
                with suppress(*_NO_ANSWER):
                    text = await answer.read()
        except _NO_ANSWER as error:
            sent = not isinstance(error, _NEVER_SENT)
            raise ApiUnreachable(f"POST {path}: {error or type(error).__name__}", sent=sent) from error
        raise error_of_answer(answer.status, answer.reason or "", answer.headers, text)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _headers(self) -> dict[str, str]:
        """With credentials; a thread asks for them, since a kubeconfig may name a program that makes them."""
        if time.monotonic() - self._known_s > CREDENTIALS_S:
            async with self._renewing:
                if time.monotonic() - self._known_s > CREDENTIALS_S:
                    try:
                        self._known = await asyncio.to_thread(self._transport.headers, "application/json")
                    except Exception as error:  # a program, a file, YAML: the official client raises what they raise
                        raise ApiUnreachable(f"credentials can't be read: {error}", sent=False) from error
                    self._known_s = time.monotonic()
        return self._known

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=CONNECTIONS, keepalive_timeout=IDLE_S, ssl=self._tls if self._tls is not None else True
            )
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        return self._session


def _context(configuration: Any) -> ssl.SSLContext:
    """TLS as urllib3 would set it up from the same configuration."""
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED if configuration.verify_ssl else ssl.CERT_NONE)
    if configuration.ssl_ca_cert or configuration.ca_cert_data:
        context.load_verify_locations(configuration.ssl_ca_cert, cadata=configuration.ca_cert_data)
    else:
        context.load_default_certs()
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    return context
