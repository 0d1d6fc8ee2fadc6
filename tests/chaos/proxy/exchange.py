"""One request on its way through the proxy: what the fault in force may do with it, from carrying it out to a reset."""

import http.client
import queue
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from bench.simulated.apiserver.http11 import LAST_CHUNK, HttpRequest, chunk, render
from bench.simulated.client import ApiAccess

UPSTREAM_TIMEOUT_S = 120.0
TICK_S = 0.05
"""How often a watch without events asks whether a fault has begun."""

_UNREACHABLE = (OSError, http.client.HTTPException)
_KEPT_HEADERS = ("accept", "authorization", "content-type", "user-agent")


class Cut(Exception):  # noqa: N818 - it is no error: the fault wants the connection to end here
    """The client's connection is over."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer of the API server, or one that the proxy makes up."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    def rendered(self) -> bytes:
        """As it goes over the wire."""
        data = render(self.status, self.body, content_type=self.content_type)
        head, _, rest = data.partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Retry-After")]
        lines += [f"{name}: {value}".encode("latin-1") for name, value in self.headers.items()]
        return b"\r\n".join(lines) + b"\r\n\r\n" + rest


def status_body(code: int, reason: str, message: str) -> bytes:
    """A failure Status as the API server writes it."""
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return msgspec.json.encode({**body, "message": message, "reason": reason, "code": code})


class Upstream:
    """The API server behind the proxy.

    Args:
        access: where it is; with a CA it is spoken to in TLS, and with a token or certificate as that user.
    """

    def __init__(self, access: ApiAccess) -> None:
        parts = urlsplit(access.server)
        self._host, self._port = parts.hostname or "", parts.port or 443
        self._token = access.token
        self._tls: ssl.SSLContext | None = None
        if parts.scheme == "https":
            self._tls = ssl.create_default_context(cafile=access.ca_file or None)
            if access.cert_file:
                self._tls.load_cert_chain(access.cert_file, access.key_file)

    def send(self, request: HttpRequest) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """Pass a request on, on a connection of its own; its head has come when this returns.

        Raises:
            OSError, http.client.HTTPException: there is no answer.
        """
        connection: http.client.HTTPConnection
        if self._tls is None:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=UPSTREAM_TIMEOUT_S)
        else:
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=UPSTREAM_TIMEOUT_S, context=self._tls
            )
        headers = {name: value for name, value in request.headers.items() if name in _KEPT_HEADERS}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        target = quote(request.path) + (f"?{urlencode(request.query)}" if request.query else "")
        try:
            connection.request(request.method, target, request.body or None, headers)
            return connection, connection.getresponse()
        except BaseException:
            connection.close()
            raise


class LineFault(Protocol):
    """What happens to a watch that is open."""

    def tick(self, stream: "WatchRelay") -> None:
        """Called often, whether or not there are events."""
        ...

    def lines(self, stream: "WatchRelay", line: bytes) -> Iterator[bytes]:
        """What the client gets instead of a line of the watch."""
        ...


class Exchange:
    """A request and the connection that its answer goes to.

    Args:
        client: the client's connection.
        request: what it asks for.
        upstream: where it is carried out.
        current: the fault for this request at this moment, for a watch that lives through several.
        ended: set when the proxy stops.
    """

    def __init__(
        self,
        client: socket.socket,
        request: HttpRequest,
        upstream: Upstream,
        current: Callable[[], LineFault],
        ended: threading.Event,
    ) -> None:
        self.request = request
        self.current = current
        self._client = client
        self._upstream = upstream
        self._ended = ended

    def wait(self, seconds: float) -> None:
        """Let time go by, unless the proxy stops.

        Raises:
            Cut: it does.
        """
        if self._ended.wait(seconds):
            raise Cut

    def carry_out(self) -> Answer:
        """Pass the request on and take the answer, which the client has not got yet.

        Raises:
            Cut: the API server gave none.
        """
        try:
            connection, reply = self._upstream.send(self.request)
            try:
                body = reply.read()
            finally:
                connection.close()
        except _UNREACHABLE as error:
            raise Cut from error
        headers = {"Retry-After": reply.headers["Retry-After"]} if "Retry-After" in reply.headers else {}
        return Answer(reply.status, body, reply.headers.get("Content-Type", "application/json"), headers)

    def reply(self, answer: Answer) -> None:
        """Give the client a whole answer."""
        self.send(answer.rendered())

    def send(self, data: bytes) -> None:
        """Give the client bytes.

        Raises:
            Cut: it is gone.
        """
        try:
            self._client.sendall(data)
        except OSError as error:
            raise Cut from error

    def reset(self) -> None:
        """Cut the connection so that the client sees a reset.

        Raises:
            Cut: always.
        """
        reset(self._client)
        raise Cut

    def relay_watch(self) -> None:
        """Pass a watch on, line by line, through whatever fault is in force when a line comes.

        Raises:
            Cut: one of the two sides is gone, or the fault wants it so.
        """
        try:
            connection, reply = self._upstream.send(self.request)
        except _UNREACHABLE as error:
            raise Cut from error
        try:
            if reply.status != 200:
                self.reply(Answer(reply.status, reply.read()))
                return
            self.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
            WatchRelay(self, reply, self._ended).run()
            self.send(LAST_CHUNK)
        finally:
            # Closing alone would wait for the thread that reads.
            if connection.sock is not None:
                with suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)
            reply.close()
            connection.close()


class WatchRelay:
    """An open watch between API server and client; faults keep what they need to know of it here."""

    def __init__(self, exchange: Exchange, reply: http.client.HTTPResponse, ended: threading.Event) -> None:
        self.exchange = exchange
        self.opened_s = time.monotonic()
        self.held: list[bytes] = []
        self.held_s: list[float] = []
        self.seen: list[bytes] = []
        self.lossy = False
        self.over = False
        self._reply = reply
        self._ended = ended
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def run(self) -> None:
        """Pass lines on until the watch ends or a fault sets `over`."""
        threading.Thread(target=self._read, name="proxy-watch", daemon=True).start()
        while not self.over and not self._ended.is_set():
            try:
                line = self._lines.get(timeout=TICK_S)
            except queue.Empty:
                self.exchange.current().tick(self)
                continue
            if line is None:
                break
            fault = self.exchange.current()
            fault.tick(self)
            for sent in fault.lines(self, line):
                self.send(sent)
        self.release()

    def send(self, data: bytes) -> None:
        """Give the client a part of the stream."""
        self.exchange.send(chunk(data))

    def expire(self) -> None:
        """End the watch with the event that says that its version is too old."""
        if not self.over:
            self.over = True
            self.send(b'{"type":"ERROR","object":' + status_body(410, "Expired", "too old resource version") + b"}\n")

    def release(self) -> None:
        """Give the client what was held back; if something was swallowed, only a list can tell what."""
        if self.lossy:
            self.expire()
        held, self.held, self.held_s = self.held, [], []
        for line in held:
            self.send(line)

    def _read(self) -> None:
        with suppress(*_UNREACHABLE, ValueError, AttributeError):
            while line := self._reply.readline():
                self._lines.put(line)
        self._lines.put(None)


def reset(connection: socket.socket) -> None:
    """Close a connection so that the other side sees a reset; harmless when it is closed."""
    with suppress(OSError):
        # Linger of 0 seconds makes close() send RST; what TLS keeps to itself is not asked.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    # Another thread may sit in recv(): close() alone would leave the connection open for it.
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RD)
    with suppress(OSError):
        connection.close()
