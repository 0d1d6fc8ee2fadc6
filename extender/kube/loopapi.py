"""From a Binding to the API server and back within the event loop: the one write that somebody waits for.

Beside a thread and `extender.kube.client` that saves a third of the processor time of a bind. Settings, credentials and
what the errors mean are the same.
"""

import asyncio
import ssl
import time
from collections.abc import Mapping
from math import inf
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec
from urllib3.util.ssl_ import create_urllib3_context

from extender.kube.apiconnections import ApiConnections, UnsentError
from extender.kube.client import binding, pod_path
from extender.kube.credentials import Credentials
from extender.kube.errors import ApiUnreachable, error_of_answer

CREDENTIALS_S = 30.0
"""For so long they are good without a look: the official client renews them minutes before they expire."""


def fits(configuration: Any) -> bool:
    """Whether the official client's configuration asks for nothing that only `extender.kube.client` can do.

    Proxies, host names that are checked otherwise and those that are not ASCII are left to threads.
    """
    return configuration.proxy is None and configuration.assert_hostname is None and configuration.host.isascii()


class LoopApi:
    """Writes Bindings; for the tasks of one event loop, in which it is closed, too."""

    def __init__(self, configuration: Any, transport: Credentials) -> None:
        """Take a `kubernetes.client.Configuration` that `fits` and who knows its credentials; nothing is connected yet.

        Raises:
            OSError, ssl.SSLError: a certificate can't be used.
        """
        self._transport = transport
        host = configuration.host.rstrip("/")
        place = urlsplit(host)
        tls = _context(configuration) if place.scheme == "https" else None
        port = place.port or (443 if tls is not None else 80)
        self._prefix = quote(place.path).encode()
        self._host = b"Host: %b\r\n" % place.netloc.rpartition("@")[2].encode("ascii")
        self._connections = ApiConnections(place.hostname or "", port, tls, configuration.tls_server_name or None)
        self._known = b""
        self._known_s = -inf
        self._renewing = asyncio.Lock()

    async def bind_pod(  # noqa: PLR0917 - the parts of one Binding, in the order of the API
        self, namespace: str, name: str, uid: str, node: str, annotations: Mapping[str, str], timeout_s: float
    ) -> None:
        """As `extender.kube.client.KubeApi.bind_pod`.

        Raises:
            ApiError: 409 when the pod is bound already or has another UID, 404 when it is gone.
            ApiUnreachable: with `sent` true the pod may be bound: read it before giving its place away.
        """
        path = f"{pod_path(namespace, name)}/binding"
        body = msgspec.json.encode(binding(namespace, name, uid, node, annotations))
        if time.monotonic() - self._known_s > CREDENTIALS_S:
            await self._renew()
        request = b"POST %b%b HTTP/1.1\r\n%b%bContent-Length: %d\r\n\r\n%b" % (
            self._prefix,
            quote(path).encode(),
            self._host,
            self._known,
            len(body),
            body,
        )
        try:
            answer = await self._connections.exchange(request, timeout_s)
        except OSError as error:
            sent = not isinstance(error, UnsentError)
            raise ApiUnreachable(f"POST {path}: {error or type(error).__name__}", sent=sent) from error
        if not 200 <= answer.status <= 299:
            raise error_of_answer(answer.status, answer.phrase, answer.headers(), answer.body)

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()

    async def _renew(self) -> None:
        """Headers with credentials; a thread asks for them, since a kubeconfig may name a program that makes them."""
        async with self._renewing:
            if time.monotonic() - self._known_s <= CREDENTIALS_S:
                return
            try:
                headers = await asyncio.to_thread(self._transport.headers, "application/json")
                self._known = _lines(headers)
            except Exception as error:  # a program, a file, YAML: the official client raises what they raise
                raise ApiUnreachable(f"credentials can't be read: {error}", sent=False) from error
            self._known_s = time.monotonic()


def _lines(headers: Mapping[str, str]) -> bytes:
    """As they are sent.

    Raises:
        ValueError: one would be more than a line; what it says is not told, it may be a credential.
    """
    for name, value in headers.items():
        if not set(name + value).isdisjoint("\r\n\0"):
            raise ValueError(f"header {name!r} has more than one line")
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("latin-1")


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
