"""From kube-scheduler's calls to their answers past the web framework, whose routing costs as much as a decision.

Takes POSTs of known paths; everything else, and everything odd, is the framework's (a browser's requests, too: there
they are refused). ASGI 3.0 (asgi.readthedocs.io/en/latest/specs/www.html), since a decision takes less time than it
takes to hand it to a thread.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

Answer = tuple[int, bytes]
"""Status and JSON."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

BROWSERS_SEND = frozenset({b"origin", b"sec-fetch-site"})
"""Headers that scripts of web pages can't leave out, and kube-scheduler never sends."""

_TYPE = (b"content-type", b"application/json")


@dataclass(frozen=True, slots=True)
class Call:
    """How one path is answered from its body; none of the ways raises anything.

    `answer` may take its time, so it gets a thread. `at_once` computes and waits for nobody, so it runs in the event
    loop; None says that this one has to wait after all, and `answer` is asked. `soon` waits without a thread, as far as
    it can.
    """

    answer: Callable[[bytes], Answer]
    at_once: Callable[[bytes], Answer | None] | None = None
    soon: Callable[[bytes, Executor], Awaitable[Answer]] | None = None


class Shortcut:
    """ASGI app in front of `app`: `calls` by path, `threads` for those that wait; `closing` is the loop's last work."""

    def __init__(
        self,
        app: AsgiApp,
        calls: Mapping[str, Call],
        threads: Executor,
        *,
        max_body_bytes: int,
        closing: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._app = app
        self._calls = calls
        self._threads = threads
        self._max_body_bytes = max_body_bytes
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or leave it to the framework."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        call = self._calls.get(scope["path"]) if scope["method"] == "POST" else None
        length = 0
        if call is not None:
            for name, value in scope["headers"]:
                if name == b"content-length":
                    length = int(value)  # the parser lets nothing but digits through
                elif name in BROWSERS_SEND:
                    call = None
                    break
        if call is None:
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read(receive) if length <= self._max_body_bytes else None
        except ConnectionResetError:
            return
        if body is None:
            text = b'{"Error":"gpupack: body is too large, expected at most %d bytes"}' % self._max_body_bytes
            # What is left of the body is not waited for.
            await _send(send, 413, text, (b"connection", b"close"))
            return
        answer = call.at_once(body) if call.at_once is not None else None
        if answer is None and call.soon is not None:
            answer = await call.soon(body, self._threads)
        elif answer is None:
            answer = await asyncio.get_running_loop().run_in_executor(self._threads, call.answer, body)
        await _send(send, *answer)

    async def _live(self, receive: Receive, send: Send) -> None:
        """The server's start and end."""
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        if self._closing is not None:
            await self._closing()
        await send({"type": "lifespan.shutdown.complete"})

    async def _read(self, receive: Receive) -> bytes | None:
        """The whole body; None when it is beyond the limit.

        Raises:
            ConnectionResetError: the client is gone.
        """
        blocks, size = [], 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise ConnectionResetError
            block: bytes = message.get("body", b"")
            blocks.append(block)
            size += len(block)
            if size > self._max_body_bytes:
                return None
            if not message.get("more_body"):
                return b"".join(blocks)


async def _send(send: Send, status: int, body: bytes, *more: tuple[bytes, bytes]) -> None:
    headers = (_TYPE, (b"content-length", b"%d" % len(body)), *more)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
