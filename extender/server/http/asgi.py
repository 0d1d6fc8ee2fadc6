"""One client's connection: kube-scheduler's calls from bytes to bytes, everything else by uvicorn and the framework.

A decision takes less time than a web framework or ASGI takes to hand it over, so a call that is plain in every way is
answered where the parser (llhttp) finds its end. Whatever is odd is left to uvicorn: other paths and methods, browsers,
pipelined calls behind one that is not answered yet, clients that don't read their answers.
"""

import asyncio
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from extender.server.http.call import BROWSERS_SEND, Answer, Call

IDLE_TIMEOUT_S = 120
"""kube-scheduler closes its idle connections after 90 s; a server that closes first loses calls."""

REQUEST_TIMEOUT_S = 30.0
"""From a request's first byte, or from the connection, to its last: a silent client gives its place back."""

MAX_HEAD_BYTES = 64 * 1024

_ODD = BROWSERS_SEND | {b"expect", b"upgrade"}
_HEADS = {
    status.value: b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %%d\r\n"
    % (status, status.phrase.encode())
    for status in HTTPStatus
    if status >= HTTPStatus.OK
}
_CLOSE = b"connection: close\r\n"


@dataclass(frozen=True, slots=True)
class Front:
    """What is answered without the framework: `calls` by path, those that wait by `threads`."""

    calls: Mapping[bytes, Call]
    threads: Executor
    max_body_bytes: int


class _Exchange:
    """A call and what becomes of it, with what uvicorn asks of the cycle of a request."""

    __slots__ = ("blocks", "call", "disconnected", "keep_alive", "response_complete", "size")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.blocks: list[bytes] = []
        self.size = 0
        self.keep_alive = True
        self.disconnected = False
        self.response_complete = False

    @property
    def message_event(self) -> "_Exchange":
        """Set when something has come."""
        return self

    def set(self) -> None:
        """Nobody waits for what comes: it is asked for when it is whole."""


class Connection(HttpToolsProtocol):
    """Closes a connection whose request does not come in time, and answers 400 to a head beyond all measure."""

    def __init__(self, *args: Any, front: Front, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._front = front
        self._exchange: _Exchange | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._answered_s = 0.0
        self._coming = self._in_head = self._came = False
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(REQUEST_TIMEOUT_S, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._in_time()
        if self._idle is not None:
            self._idle.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, and set bounds to what has begun and is not whole."""
        self._came = False
        super().data_received(data)
        if not self._coming:
            return
        if self._in_head:
            self._head_bytes += 0 if self._came else len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response(f"Head of a request is beyond {MAX_HEAD_BYTES} bytes.")
        if self._deadline is None:
            self._deadline = self.loop.call_later(REQUEST_TIMEOUT_S, self.transport.abort)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._coming = self._in_head = True
        self._head_bytes = 0
        self._exchange = None
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_headers_complete(self) -> None:
        """The head is whole: it tells whose request it is.

        Raises:
            ValueError: it is too long; the parser ends with it, and the client gets 400.
        """
        self._in_head = False
        call = self._front.calls.get(self.url)
        if call is not None and self._is_plain(named := dict(self.headers)):
            self.cycle = self._exchange = _Exchange(call)  # type: ignore[assignment] # has what uvicorn asks of it
            self._bound(int(named.get(b"content-length", b"0")))  # the parser lets nothing but digits through
            return
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        if len(url) + sum(len(name) + len(value) for name, value in headers) > MAX_HEAD_BYTES:
            raise ValueError(f"head of a request is beyond {MAX_HEAD_BYTES} bytes")
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of it."""
        exchange = self._exchange
        if exchange is None:
            super().on_body(body)
            return
        exchange.blocks.append(body)
        exchange.size += len(body)
        self._bound(exchange.size)

    def on_message_complete(self) -> None:
        """The last byte of a request: answer it."""
        self._coming, self._came = False, True
        self._in_time()
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            super().on_message_complete()
            return
        call = exchange.call
        body = exchange.blocks[0] if len(exchange.blocks) == 1 else b"".join(exchange.blocks)
        exchange.blocks.clear()
        answer = call.at_once(body) if call.at_once is not None else None
        if answer is not None:
            self._answer(exchange, answer)
            return
        task = self.loop.create_task(self._answer_later(exchange, body))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _answering(self) -> bool:
        """Whether an earlier request is not answered yet."""
        return self.cycle is not None and not self.cycle.response_complete

    def _is_plain(self, named: Mapping[bytes, bytes]) -> bool:
        parser = self.parser
        if self._answering() or self.flow.write_paused:
            return False
        if parser.get_method() != b"POST" or parser.get_http_version() != "1.1" or not parser.should_keep_alive():
            return False
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            return False
        return _ODD.isdisjoint(named)

    def _bound(self, body_bytes: int) -> None:
        if body_bytes > (most := self._front.max_body_bytes) and self._exchange is not None:
            text = b'{"Error":"gpupack: body is too large, expected at most %d bytes"}' % most
            # What is left of the body is not waited for.
            self._exchange.keep_alive = False
            self._answer(self._exchange, (413, text))
            self._exchange = None

    async def _answer_later(self, exchange: _Exchange, body: bytes) -> None:
        call, threads = exchange.call, self._front.threads
        if call.soon is not None:
            answer = await call.soon(body, threads)
        else:
            answer = await self.loop.run_in_executor(threads, call.answer, body)
        self._answer(exchange, answer)

    def _answer(self, exchange: _Exchange, answer: Answer) -> None:
        """In one piece: head and body one by one would wake the client for a head without a body."""
        status, body = answer
        exchange.response_complete = True
        if exchange.disconnected or self.transport.is_closing():
            return
        head = _HEADS[status] % len(body)
        self.transport.write(b"%b%b\r\n%b" % (head, b"" if exchange.keep_alive else _CLOSE, body))
        if not exchange.keep_alive:
            self.transport.close()
        elif self.pipeline:
            self.on_response_complete()
        else:
            self.server_state.total_requests += 1
            self._answered_s = self.loop.time()
            if self._idle is None:
                self._idle = self.loop.call_later(IDLE_TIMEOUT_S, self._look_if_idle)

    def _look_if_idle(self) -> None:
        """One timer for many answers: starting one for each costs more than writing the answer."""
        self._idle = None
        rest_s = self._answered_s + IDLE_TIMEOUT_S - self.loop.time()
        if self._coming or self._answering() or rest_s > 0:
            self._idle = self.loop.call_later(max(rest_s, 1.0), self._look_if_idle)
        elif self.timeout_keep_alive_task is None:
            self.transport.close()

    def _in_time(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
