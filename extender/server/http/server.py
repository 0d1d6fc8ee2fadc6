"""Serves an app with uvicorn: from an address, an app and kube-scheduler's calls to a server that stops cleanly.

One event loop in a thread of its own parses HTTP (llhttp) and answers what needs no waiting; the rest gets threads.
"""

import asyncio
import logging
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import uvicorn
from a2wsgi import WSGIMiddleware

from extender.server.http.asgi import IDLE_TIMEOUT_S, Connection, Front
from extender.server.http.call import Call
from extender.server.settings import Address, SettingsError, Tls

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_LOG = logging.getLogger(__name__)

WAITING_CONNECTIONS = 128
MAX_CONNECTIONS = 1_024
"""More are answered 503. kube-scheduler keeps one for each bind under way, and few without them."""

FRAMEWORK_THREADS = 4
"""For people, probes and Prometheus."""

SHUTDOWN_TIMEOUT_S = 6
"""Longer than a bind may take."""


class Server:
    """One address; `start` returns when it listens, `stop` when what ran has been answered or the time is over.

    Args:
        address: where to listen.
        app: the framework's; gets what `calls` do not take.
        calls: kube-scheduler's, by path.
        threads: of `calls` that wait, so many are answered at the same time.
        max_body_bytes: largest call that is read.
        tls: without it plain HTTP is spoken.
        closing: awaited in the event loop when all is answered.

    Raises:
        SettingsError: a TLS file cannot be used.
    """

    def __init__(
        self,
        address: Address,
        app: "WSGIApplication",
        calls: Mapping[str, Call] | None = None,
        *,
        threads: int,
        max_body_bytes: int,
        tls: Tls | None = None,
        closing: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._address = address
        self._threads = ThreadPoolExecutor(threads, "call")
        # Its types of WSGI and ASGI are its own.
        self._framework = WSGIMiddleware(cast("Any", app), workers=FRAMEWORK_THREADS)
        front = Front({path.encode(): call for path, call in (calls or {}).items()}, self._threads, max_body_bytes)
        context = _context(tls) if tls is not None else None
        self._uvicorn = uvicorn.Server(
            uvicorn.Config(
                _App(self._framework, closing),
                http=cast("type[asyncio.Protocol]", partial(Connection, front=front)),
                loop="uvloop",
                ws="none",
                lifespan="on",
                log_config=None,
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                limit_concurrency=MAX_CONNECTIONS,
                backlog=WAITING_CONNECTIONS,
                timeout_keep_alive=IDLE_TIMEOUT_S,
                timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
                ssl_context_factory=None if context is None else lambda _config, _default: context,
            )
        )
        self._socket: socket.socket | None = None
        self._port = 0
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on; 0 before `start`, and afterwards what it was."""
        return self._port

    @property
    def alive(self) -> bool:
        """Whether it still accepts calls."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Listen and serve in a thread.

        Raises:
            OSError: the address cannot be listened on.
        """
        self._socket = _listen(self._address)
        self._port = int(self._socket.getsockname()[1])
        self._thread.start()

    def _serve(self) -> None:
        try:
            self._uvicorn.run(sockets=[self._socket] if self._socket is not None else None)
        except BaseException:  # noqa: BLE001 (SystemExit, too; health turns bad with the thread, and the log says why)
            _LOG.exception("the HTTP server has ended")
        finally:
            for pool in (self._threads, self._framework.executor):
                pool.shutdown(wait=False, cancel_futures=True)

    def stop(self) -> None:
        """Accept nothing more, let calls finish, close."""
        self._uvicorn.should_exit = True
        if self._thread.is_alive():
            self._thread.join(2 * SHUTDOWN_TIMEOUT_S)


class _App:
    """The framework's app, and the end of the event loop's work. ASGI 3.0, asgi.readthedocs.io."""

    def __init__(self, framework: Any, closing: Callable[[], Awaitable[None]] | None) -> None:
        self._framework = framework
        self._closing = closing

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await self._framework(scope, receive, send)
            return
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        if self._closing is not None:
            await self._closing()
        await send({"type": "lifespan.shutdown.complete"})


def _listen(address: Address) -> socket.socket:
    """A listening socket.

    Raises:
        OSError: the address cannot be listened on.
    """
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, place = found[0]
    both = address.host == "::" and socket.has_dualstack_ipv6()
    return socket.create_server(
        (str(place[0]), int(place[1])), family=family, backlog=WAITING_CONNECTIONS, dualstack_ipv6=both
    )


class _Reporting(ssl.SSLObject):
    """Says who was not let in; the event loop would drop it without a word."""

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            # Anybody who reaches the port can bring this about: one line, and no traceback.
            _LOG.info("TLS client was not let in: %s", error)
            raise


def _context(tls: Tls) -> ssl.SSLContext:
    """TLS 1.2 or newer that lets in only clients with a certificate of one authority.

    Raises:
        SettingsError: a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.sslobject_class = _Reporting
    for name, path in asdict(tls).items():
        if not Path(path).is_file():
            raise SettingsError(f"tls: {name} is {path!r}, expected an existing file")
    try:
        context.load_verify_locations(tls.client_authority)
    except OSError as error:
        raise SettingsError(
            f"tls: client_authority is {tls.client_authority!r}, expected a PEM certificate: {error}"
        ) from error
    try:
        context.load_cert_chain(tls.certificate, tls.key)
    except OSError as error:
        raise SettingsError(
            f"tls: certificate is {tls.certificate!r} and key {tls.key!r}, expected a PEM pair: {error}"
        ) from error
    return context
