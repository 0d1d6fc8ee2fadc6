"""From the bytes of a request to the API server's answer, over connections that an event loop keeps.

HTTP/1.1, one request at a time on a connection, parsed by llhttp. A general client costs as much processor time for a
small write as the decision that it carries out.
"""

import asyncio
import ssl
from dataclasses import dataclass, field

import httptools

CONNECTIONS = 80
"""As many binds as kube-scheduler has under way at a time, and some."""

IDLE_S = 60.0
"""API servers keep idle connections for longer; on one that the server closes, a bind becomes uncertain."""

CONNECT_TIMEOUT_S = 5.0

MAX_BODY_BYTES = 1 << 20
"""What is kept of an answer; a Status object is far smaller."""


class UnsentError(OSError):
    """No connection: nothing was sent."""


@dataclass(slots=True)
class ApiAnswer:
    """Status, reason phrase, headers as they came, and body, which may be cut where the connection broke off."""

    status: int = 0
    phrase: str = ""
    raw_headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    def headers(self) -> dict[str, str]:
        """By name in its usual form: `Retry-After`."""
        return {name.decode("latin-1").title(): value.decode("latin-1") for name, value in self.raw_headers}


class ApiConnections:
    """Kept connections to one host; for the tasks of one event loop, in which it is closed, too."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, server_hostname: str | None) -> None:
        """`server_hostname` is what the certificate must say, `host` where it is None."""
        self._host = host
        self._port = port
        self._tls = tls
        self._server_hostname = (server_hostname or host) if tls is not None else None
        self._places = asyncio.Semaphore(CONNECTIONS)
        self._rested: list[_Connection] = []

    async def exchange(self, request: bytes, timeout_s: float) -> ApiAnswer:
        """Send, and wait for the answer; a connection is waited for first, for as long at most.

        Raises:
            UnsentError: no connection.
            OSError: it broke or the time was over before an answer began; the request may have been carried out.
        """
        if self._places.locked():
            try:
                await asyncio.wait_for(self._places.acquire(), timeout_s)
            except TimeoutError as error:
                raise UnsentError(f"no connection was free within {timeout_s:g} s") from error
        else:
            await self._places.acquire()
        try:
            connection = self._kept() or await self._connected(min(CONNECT_TIMEOUT_S, timeout_s))
            answer = await connection.exchange(request, timeout_s)
            if connection.usable:
                self._rested.append(connection)
        finally:
            self._places.release()
        return answer

    async def close(self) -> None:
        """Close what rests; what is under way ends with its exchange."""
        while self._rested:
            self._rested.pop().close()

    def _kept(self) -> "_Connection | None":
        """The one used last: the others may come of age."""
        while self._rested:
            connection = self._rested.pop()
            if connection.fresh:
                return connection
            connection.close()
        return None

    async def _connected(self, timeout_s: float) -> "_Connection":
        loop = asyncio.get_running_loop()
        opening = loop.create_connection(
            lambda: _Connection(loop), self._host, self._port, ssl=self._tls, server_hostname=self._server_hostname
        )
        try:
            _, connection = await asyncio.wait_for(opening, timeout_s)
        except TimeoutError as error:
            raise UnsentError(f"no connection to {self._host}:{self._port} within {timeout_s:g} s") from error
        except OSError as error:
            raise UnsentError(str(error)) from error
        return connection


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[ApiAnswer] | None = None
        self._answer = ApiAnswer()
        self._blocks: list[bytes] = []
        self._size = 0
        self._used_s = 0.0

    @property
    def usable(self) -> bool:
        """Whether another request may follow."""
        return self._transport is not None and self._waiter is None and not self._transport.is_closing()

    @property
    def fresh(self) -> bool:
        """Whether it is usable, and has not rested for too long."""
        return self.usable and self._loop.time() - self._used_s < IDLE_S

    async def exchange(self, request: bytes, timeout_s: float) -> ApiAnswer:
        """Send, and wait for the answer.

        Raises:
            OSError: there is none.
        """
        if self._transport is None:
            raise ConnectionResetError("the connection is closed")
        waiter: asyncio.Future[ApiAnswer] = self._loop.create_future()
        self._waiter = waiter
        self._answer, self._size = ApiAnswer(), 0
        self._blocks.clear()
        self._transport.write(request)
        deadline = self._loop.call_later(timeout_s, self._end, TimeoutError(f"no answer within {timeout_s:g} s"))
        try:
            return await waiter
        finally:
            deadline.cancel()
            if self._waiter is not None:  # cancelled: what comes now would be taken for the next one's answer
                self._waiter = None
                self.close()

    def close(self) -> None:
        """Close at once: nothing is lost but what nobody waits for."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = transport  # type: ignore[assignment] # of a stream, as asyncio has it

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed, by whomever."""
        self._end(exc or ConnectionResetError("the connection was closed before an answer came"))
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """A part of an answer."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._end(ConnectionResetError(f"no HTTP answer: {error}"))

    def on_status(self, phrase: bytes) -> None:
        """Of the status line."""
        self._answer.phrase = phrase.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._answer.raw_headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The status is known: what follows can't change it."""
        self._answer.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._size += len(body)
        if self._size <= MAX_BODY_BYTES:
            self._blocks.append(body)
        else:
            self.close()

    def on_message_complete(self) -> None:
        """The answer is whole."""
        if self._answer.status < 200:  # another follows
            return
        self._used_s = self._loop.time()
        keeps = self._waiter is not None and self._parser.should_keep_alive()
        self._end(None)
        if not keeps:
            self.close()

    def _end(self, error: Exception | None) -> None:
        """Tell who waits: the answer as far as it came if its status is known, else why there is none."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            if self._answer.status >= 200:
                self._answer.body = b"".join(self._blocks)
                waiter.set_result(self._answer)
            else:
                waiter.set_exception(error or ConnectionResetError("no answer"))
        if error is not None:
            self.close()
