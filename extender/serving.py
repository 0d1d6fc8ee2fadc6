"""Serves a WSGI app with cheroot: from an address and an app to a running server that can be stopped cleanly."""

import io
import logging
import ssl
import threading
from collections.abc import Callable
from typing import Any

from cheroot import wsgi
from cheroot.makefile import StreamReader, StreamWriter
from cheroot.ssl import Adapter

from extender.settings import Address, Tls

_LOG = logging.getLogger(__name__)

IDLE_TIMEOUT_S = 120
"""kube-scheduler closes its idle connections after 90 s; a server that closes first loses calls."""

SHUTDOWN_TIMEOUT_S = 6
"""Longer than a bind may take."""


class Server:
    """One address; `start` returns when it listens, `stop` when what ran has been answered or the time is over."""

    def __init__(
        self, address: Address, app: Callable[..., Any], *, threads: int, max_body_bytes: int, tls: Tls | None = None
    ) -> None:
        self._server = _Wsgi(
            (address.host, address.port),
            app,
            numthreads=threads,
            max=threads,
            request_queue_size=128,
            timeout=IDLE_TIMEOUT_S,
            shutdown_timeout=SHUTDOWN_TIMEOUT_S,
        )
        self._server.keep_alive_conn_limit = 256
        self._server.max_request_body_size = max_body_bytes
        self._server.max_request_header_size = 64 * 1024
        if tls is not None:
            self._server.ssl_adapter = _ClientCertificates(tls)
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.bind_addr[1])

    @property
    def alive(self) -> bool:
        """Whether it still accepts calls."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Listen and serve in a thread.

        Raises:
            OSError: the address cannot be listened on.
        """
        self._server.prepare()
        self._thread.start()

    def _serve(self) -> None:
        try:
            self._server.serve()
        except Exception:  # noqa: BLE001 (health turns bad with the thread; the log says why)
            _LOG.exception("the HTTP server has ended")

    def stop(self) -> None:
        """Accept nothing more, let calls finish, close."""
        self._server.stop()
        if self._thread.is_alive():
            self._thread.join(SHUTDOWN_TIMEOUT_S)


class _Wsgi(wsgi.Server):
    """Cheroot's server, with its messages in our log."""

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:  # noqa: FBT001, FBT002 (cheroot's signature)
        _LOG.log(level, "http: %s", msg.strip(), exc_info=traceback)


class _ClientCertificates(Adapter):
    """TLS that lets in only clients with a certificate of one authority.

    The handshake happens at the first read, in a worker thread: in the accepting thread one silent client would stop
    everybody else.
    """

    def __init__(self, tls: Tls) -> None:
        super().__init__(tls.certificate, tls.key)
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tls.client_authority)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._context.load_cert_chain(tls.certificate, tls.key)

    def bind(self, sock: Any) -> Any:
        return sock

    def wrap(self, sock: Any) -> tuple[Any, dict[str, str]]:
        secured = self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        return secured, self.get_environ()

    def get_environ(self) -> dict[str, str]:
        return {"wsgi.url_scheme": "https", "HTTPS": "on"}

    def makefile(self, sock: Any, mode: str = "r", bufsize: int = io.DEFAULT_BUFFER_SIZE) -> Any:
        return StreamReader(sock, mode, bufsize) if "r" in mode else StreamWriter(sock, mode, bufsize)
