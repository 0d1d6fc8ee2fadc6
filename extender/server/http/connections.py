"""Limits the connections of a server: how many, how large their request heads are, and how long a request may take.

uvicorn parses and answers. `Connection` stands between the transport and uvicorn's protocol, which it knows only as an
`asyncio.Protocol`; the app tells it (through `scope["state"]["connection"]`) how far a request has come.
"""

import asyncio
import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MAX_SWEEP_S = 1.0
MAX_PIPELINED = 16
"""Requests in one read; kube-scheduler, kubelets and Prometheus wait for an answer before they send the next."""

SMALL_HEAD_BYTES = 1024
"""Heads up to this size, as kube-scheduler and probes send, are taken whatever others have sent."""

_END_OF_HEAD = b"\r\n\r\n"
_TOO_LARGE = b"request head is too large\n"
_BAD_REQUEST = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(_TOO_LARGE), _TOO_LARGE)
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What clients may take.

    Args:
        connections: open at the same time. One more closes the oldest that has no complete request, idle ones last;
            only when all are being answered, the new one is refused.
        head_bytes: of one request, and of one whose predecessor is being answered.
        all_heads_bytes: of all heads that the app does not have yet, in total; one beyond it that is not small is
            refused.
        request_s: from the connection, or from a request's first byte, to the request's last byte.
        unread_s: how long a client may leave its answer unread.
        lifetime_s: how long a connection may last, whatever it does; None without a limit.
    """

    connections: int
    head_bytes: int
    all_heads_bytes: int
    request_s: float
    unread_s: float
    lifetime_s: float | None = None


class Phase(enum.Enum):
    """How far a connection's request has come."""

    HEAD = enum.auto()
    BODY = enum.auto()
    ANSWERING = enum.auto()
    IDLE = enum.auto()


class Connections:
    """The open connections of one server; called by uvicorn to make the protocol of each new one."""

    def __init__(self, protocol: Callable[..., asyncio.Protocol], limits: Limits) -> None:
        self.limits = limits
        self.head_bytes = 0
        self._protocol = protocol
        self._open: dict[Connection, None] = {}
        self._sweeps = False

    def __call__(self, *, app_state: dict[str, Any], **arguments: Any) -> "Connection":
        """Make the protocol of a new connection."""
        connection = Connection(self)
        connection.inner = self._protocol(app_state={**app_state, "connection": connection}, **arguments)
        return connection

    def admit(self, connection: "Connection") -> None:
        """Give the connection a place, if need be that of another; close it when there is none."""
        if len(self._open) >= self.limits.connections:
            closable = [one for one in self._open if one.phase is not Phase.ANSWERING]
            closed = min(closable, key=lambda one: (one.phase is Phase.IDLE, one.since_s), default=connection)
            self._open.pop(closed, None)
            closed.abort()
            if closed is connection:
                return
        self._open[connection] = None
        if not self._sweeps:
            self._sweeps = True
            self._sweep_later(connection.loop)

    def remove(self, connection: "Connection") -> None:
        """The connection is closed."""
        self._open.pop(connection, None)

    def _sweep_later(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_later(min(MAX_SWEEP_S, self.limits.request_s / 4), self._sweep, loop)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """One timer for all connections: one for each request would cost more than parsing it."""
        now_s = loop.time()
        for connection in list(self._open):
            if connection.is_overdue(now_s):
                connection.abort()
        self._sweeps = bool(self._open)
        if self._sweeps:
            self._sweep_later(loop)


class Connection(asyncio.Protocol):
    """Passes one connection's bytes to uvicorn, and closes the connection when it exceeds a limit."""

    inner: asyncio.Protocol

    def __init__(self, connections: Connections) -> None:
        self.loop = asyncio.get_running_loop()
        self.phase = Phase.HEAD
        self.since_s = self._made_s = self.loop.time()
        self._connections = connections
        self._limits = connections.limits
        self._transport: asyncio.Transport | None = None
        self._head_bytes = 0
        self._in_head = True
        self._tail = b""
        self._unread_since_s: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place."""
        self._transport = transport  # type: ignore[assignment] # a stream's, as asyncio documents it
        self.inner.connection_made(transport)
        self._connections.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self._connections.remove(self)
        self._reset_head()
        self.inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count the bytes of heads, and parse.

        They are counted before they are parsed: a head of tiny headers takes up to 40 times its bytes afterwards, and
        many connections are read before the app's next turn.
        """
        if self.phase is Phase.IDLE:
            self._enter(Phase.HEAD)
        if self._in_head:
            text = self._tail + data if self._tail else data
            end = text.find(_END_OF_HEAD)
            self._in_head, self._tail = end < 0, data[-3:] if end < 0 else b""
            size = min(len(data), len(text) if end < 0 else end)
            self._head_bytes += size
            self._connections.head_bytes += size
            if self._exceeds():
                self._refuse()
                return
        if data.count(_END_OF_HEAD) > MAX_PIPELINED:
            # uvicorn stops reading at the second, but has parsed all of this read by then.
            self._refuse()
            return
        self.inner.data_received(data)

    def eof_received(self) -> bool | None:
        """As uvicorn decides."""
        return self.inner.eof_received()

    def pause_writing(self) -> None:
        """The client does not read its answer."""
        self._unread_since_s = self.loop.time()
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._unread_since_s = None
        self.inner.resume_writing()

    @property
    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._transport is None or self._transport.is_closing()

    def head_is_complete(self) -> None:
        """The app has the head; it counts the body itself."""
        self._reset_head()
        self.phase, self._in_head = Phase.BODY, False

    def body_is_complete(self) -> None:
        """The app has all that it will read of the request."""
        self._reset_head()
        self.phase, self._in_head, self._tail = Phase.ANSWERING, True, b""

    def is_answered(self) -> None:
        """The app has written its answer."""
        self._enter(Phase.HEAD if self._head_bytes else Phase.IDLE)

    def is_overdue(self, now_s: float) -> bool:
        """Whether the client has had its time."""
        limits = self._limits
        if self.phase in {Phase.HEAD, Phase.BODY} and now_s - self.since_s > limits.request_s:
            return True
        if self._unread_since_s is not None and now_s - self._unread_since_s > limits.unread_s:
            return True
        return limits.lifetime_s is not None and now_s - self._made_s > limits.lifetime_s

    def abort(self) -> None:
        """Close at once, dropping what is not sent yet."""
        if self._transport is not None:
            self._transport.abort()

    def _enter(self, phase: Phase) -> None:
        self.phase, self.since_s = phase, self.loop.time()

    def _exceeds(self) -> bool:
        return self._head_bytes > self._limits.head_bytes or (
            self._head_bytes > SMALL_HEAD_BYTES and self._connections.head_bytes > self._limits.all_heads_bytes
        )

    def _refuse(self) -> None:
        if self._transport is not None and self.phase is Phase.HEAD:
            self._transport.write(_BAD_REQUEST)
            self._transport.close()
        else:
            self.abort()

    def _reset_head(self) -> None:
        self._connections.head_bytes -= self._head_bytes
        self._head_bytes = 0
