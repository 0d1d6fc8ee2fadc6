"""Runs uvicorn on one address in a thread: the port that kube-scheduler calls, and the one for probes and metrics."""

import logging
import resource
import socket
import threading
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, cast

import uvicorn

from extender.server.http.asgi import App, BodyLimits
from extender.server.http.call import Call
from extender.server.http.connections import Connections, Limits
from extender.server.http.hosts import AllowedHosts
from extender.server.http.tls import ServerTls
from extender.server.settings import Address, Tls
from extender.sockets.listening import listening_socket

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_LOG = logging.getLogger(__name__)

IDLE_TIMEOUT_S = 120
"""kube-scheduler closes its idle connections after 90 s; a server that closes first loses calls."""

SCHEDULER_LIMITS = Limits(
    connections=1_024, head_bytes=64 * 1024, all_heads_bytes=4 * 1024 * 1024, request_s=30.0, unread_s=30.0
)
"""kube-scheduler keeps one connection for each bind under way, and few without them.

A head of tiny headers takes up to 40 times its bytes once it is parsed, so heads have a bound in total.
"""

PROBE_LIMITS = Limits(
    connections=512, head_bytes=8 * 1024, all_heads_bytes=1024 * 1024, request_s=3.0, unread_s=5.0, lifetime_s=15.0
)
"""Any pod may connect here. A probe loses its place only when 512 connections are opened between its own connection and
its request, which follows at once; strangers take at most some 20 MiB."""

PROBE_THREADS = 2
PROBE_WAITING = 8
"""Scrapes under way; far below the number of connections, so that there is always one to close for a probe."""

MAX_BODIES = 2
"""Largest bodies that are kept at the same time; thousands of common ones."""

SHUTDOWN_TIMEOUT_S = 6
"""Longer than a bind may take."""


FILES_WANTED = 8_192
"""Open files for all connections of both servers, and several times as many that are in a TLS handshake."""


def raise_open_files() -> int:
    """Raise this process's limit of open files to `FILES_WANTED`, or as far as it may be; return the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, FILES_WANTED)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return FILES_WANTED if soft == resource.RLIM_INFINITY else soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def fitted(limits: Limits, files: int, share: int) -> Limits:
    """Limits whose connections take at most one of `share` parts of the files that may be open."""
    return replace(limits, connections=min(limits.connections, max(1, files // share)))


def scheduler_server(
    address: Address,
    calls: Mapping[str, Call],
    framework: "WSGIApplication",
    *,
    threads: int,
    max_body_bytes: int,
    tls: Tls | None = None,
    allowed_hosts: Collection[str] = (),
    limits: Limits = SCHEDULER_LIMITS,
) -> "Server":
    """A server for kube-scheduler and for people.

    Args:
        address: where to listen.
        calls: by path.
        framework: answers all other paths.
        threads: of calls that wait; so many are answered at the same time.
        max_body_bytes: largest body that is read.
        tls: without it plain HTTP is spoken.
        allowed_hosts: names that people may call the server by, apart from loopback names and its address.
        limits: of its connections.

    Raises:
        SettingsError: a TLS file can't be used.
    """
    bodies = BodyLimits(max_body_bytes, MAX_BODIES * max_body_bytes, waiting=limits.connections)
    app = App(calls, threads=threads, limits=bodies, framework=framework, hosts=AllowedHosts(allowed_hosts))
    return Server(address, app, limits, parser="httptools", tls=ServerTls(tls) if tls is not None else None)


def probe_server(address: Address, calls: Mapping[str, Call], limits: Limits = PROBE_LIMITS) -> "Server":
    """A server for the kubelet's probes and Prometheus, which anybody in the cluster may reach.

    It reads no bodies, answers one request per connection, and parses with h11, which bounds heads and trailers.
    """
    bodies = BodyLimits(0, 0, waiting=PROBE_WAITING)
    app = App(calls, threads=PROBE_THREADS, limits=bodies, keep_alive=False)
    return Server(address, app, limits, parser="h11", tls=None)


class Server:
    """One address; `start` returns when it listens, `stop` when what ran has been answered or the time is over."""

    def __init__(
        self, address: Address, app: App, limits: Limits, *, parser: Literal["httptools", "h11"], tls: ServerTls | None
    ) -> None:
        self._address = address
        self._backlog = limits.connections
        self._app = app
        config = uvicorn.Config(
            app,
            http=parser,
            loop="uvloop",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            backlog=self._backlog,
            h11_max_incomplete_event_size=limits.head_bytes,
            timeout_keep_alive=IDLE_TIMEOUT_S,
            timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
            ssl_context_factory=None if tls is None else lambda _config, _default: tls.listening,
        )
        config.load()
        # uvicorn takes any asyncio protocol for a class; this one makes uvicorn's own and limits it.
        config.http_protocol_class = cast("Any", Connections(config.http_protocol_class, limits))
        self._uvicorn = uvicorn.Server(config)
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
            OSError: the address can't be listened on.
        """
        try:
            self._socket = listening_socket(self._address.host, self._address.port, self._backlog)
        except OSError as error:
            raise OSError(f"can't listen on {self._address.host}:{self._address.port}: {error}") from error
        self._port = int(self._socket.getsockname()[1])
        self._thread.start()

    def _serve(self) -> None:
        try:
            self._uvicorn.run(sockets=[self._socket] if self._socket is not None else None)
        except BaseException:  # noqa: BLE001 (SystemExit, too; health turns bad with the thread, and the log says why)
            _LOG.exception("the HTTP server has ended")
        finally:
            self._app.close()

    def stop(self) -> None:
        """Accept nothing more, let calls finish, close."""
        self._uvicorn.should_exit = True
        if self._thread.is_alive():
            self._thread.join(2 * SHUTDOWN_TIMEOUT_S)
