"""Sets up TLS for a server, and reads certificate, key and client authority again when one of the files changes."""

import logging
import ssl
from dataclasses import asdict, astuple
from pathlib import Path

from extender.server.settings import SettingsError, Tls

_LOG = logging.getLogger(__name__)


class _LoggingSSLObject(ssl.SSLObject):
    """Logs failed handshakes; the event loop drops them without a word."""

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            # Anybody who reaches the port can cause this: one line, and no traceback.
            _LOG.info("TLS handshake failed: %s", error)
            raise


class ServerTls:
    """TLS 1.2 or newer that lets in only clients with a certificate of one authority.

    Raises:
        SettingsError: on creation: a file can't be used. Later on, what was read last stays in use.
    """

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._versions = _versions(tls)
        self._current = _context(tls)
        self.listening = _context(tls)
        """The context of the listening socket; each handshake goes on with what the files hold by then."""
        self.listening.sni_callback = self._renew
        # A resumed session would not be checked against a new authority.
        self.listening.num_tickets = 0
        self.listening.options |= ssl.OP_NO_TICKET

    def _renew(self, handshake: ssl.SSLObject, _server_name: str | None, _listening: ssl.SSLContext) -> None:
        """Called in each handshake, whether the client names a server or not."""
        versions = _versions(self._tls)
        if versions != self._versions:
            self._versions = versions
            try:
                self._current = _context(self._tls)
            except SettingsError as error:
                _LOG.warning("changed TLS files can't be used, what was read before stays in use: %s", error)
            else:
                _LOG.info("TLS files were read again")
        handshake.context = self._current


def _versions(tls: Tls) -> list[object]:
    """What changes when one of the files is replaced or written."""
    versions: list[object] = []
    for path in astuple(tls):
        try:
            found = Path(path).stat()
        except OSError:
            versions.append(None)
        else:
            versions.append((found.st_mtime_ns, found.st_ino, found.st_size))
    return versions


def _context(tls: Tls) -> ssl.SSLContext:
    """Read the files.

    Raises:
        SettingsError: one of them can't be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.sslobject_class = _LoggingSSLObject
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
