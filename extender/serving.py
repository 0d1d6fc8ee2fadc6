"""Serves a WSGI app with cheroot: from an address and an app to a running server that can be stopped cleanly."""

import io
import logging
import ssl
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cheroot import wsgi
from cheroot.errors import FatalSSLAlert
from cheroot.makefile import StreamReader, StreamWriter
from cheroot.ssl import Adapter

from extender.settings import Address, SettingsError, Tls

_LOG = logging.getLogger(__name__)

IDLE_TIMEOUT_S = 120
"""kube-scheduler closes its idle connections after 90 s; a server that closes first loses calls."""

HANDSHAKE_TIMEOUT_S = 10.0
"""A client that is silent for so long gives its thread back; only one that is let in may idle longer."""

SHUTDOWN_TIMEOUT_S = 6
"""Longer than a bind may take."""


class Server:
    """One address; `start` returns when it listens, `stop` when what ran has been answered or the time is over.

    Raises:
        SettingsError: a TLS file cannot be used.
    """

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
    """TLS that lets in only clients with a certificate of one authority."""

    def __init__(self, tls: Tls) -> None:
        super().__init__(tls.certificate, tls.key)
        self._context = _context(tls)

    def bind(self, sock: Any) -> Any:
        return sock

    def wrap(self, sock: Any) -> tuple[Any, dict[str, str]]:
        secured = self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        return secured, self.get_environ()

    def get_environ(self) -> dict[str, str]:
        return {"wsgi.url_scheme": "https", "HTTPS": "on"}

    def makefile(self, sock: Any, mode: str = "r", bufsize: int = io.DEFAULT_BUFFER_SIZE) -> Any:
        return StreamReader(sock, mode, bufsize) if "r" in mode else StreamWriter(sock, mode, bufsize)


class _LateHandshake(ssl.SSLSocket):
    """Shakes hands at the first read, in a worker thread: in the accepting thread one silent client would stop all."""

    _done = False

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        if not self._done:
            self._shake_hands()
            self._done = True
        return super().recv_into(buffer, nbytes, flags)

    def _shake_hands(self) -> None:
        timeout_s = self.gettimeout()
        self.settimeout(HANDSHAKE_TIMEOUT_S)
        try:
            self.do_handshake()
        except OSError as error:
            # Anybody who reaches the port can bring this about: one line, and no traceback.
            _LOG.info("TLS client was not let in: %s", error)
            raise FatalSSLAlert(str(error)) from error
        self.settimeout(timeout_s)


def _context(tls: Tls) -> ssl.SSLContext:
    """TLS 1.2 or newer, client certificates required.

    Raises:
        SettingsError: a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.sslsocket_class = _LateHandshake
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
