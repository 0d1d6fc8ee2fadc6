"""Answers HTTP requests: known paths by their `Call`, everything else by Flask. An ASGI 3 app, asgi.readthedocs.io."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import msgspec
from a2wsgi import WSGIMiddleware

from extender.server.http.call import JSON_TYPE, Answer, Call
from extender.server.http.connections import Connection
from extender.server.http.hosts import AllowedHosts

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

FRAMEWORK_THREADS = 4
"""For people who look at the page, and for /v1."""

ALONE_THREADS = 4
"""For calls that need nothing but this process; they take turns at the interpreter anyway."""

_BROWSERS_SEND = frozenset({b"origin", b"sec-fetch-site"})
"""Headers that scripts of web pages can't leave out, and kube-scheduler never sends."""

_ENDS_CONNECTION = frozenset({HTTPStatus.LENGTH_REQUIRED, HTTPStatus.REQUEST_ENTITY_TOO_LARGE})
"""What is left of such a body is not waited for."""

_LENGTH_DIGITS = 18
_LENGTHS = {b"content-length", b"transfer-encoding"}


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """What the app keeps of requests.

    Args:
        one_bytes: largest body. A body without a Content-Length is refused: chunks and trailers have no bound.
        all_bytes: of all bodies in total that are half sent or not answered yet.
        waiting: requests in total that wait for a thread or are answered by one.
    """

    one_bytes: int
    all_bytes: int
    waiting: int


@dataclass(slots=True)
class _Request:
    """What ASGI gives for one request."""

    scope: Any
    receive: Any
    send: Any
    connection: Connection


class App:
    """Answers `calls` by path, and everything else by `framework`; without one with 404.

    Args:
        calls: by path.
        threads: for calls that wait for others; those that need nothing but this process have their own.
        limits: of bodies and waiting calls.
        framework: serves people, so it gets only requests whose Host header is one of `hosts`.
        hosts: see there.
        keep_alive: whether a client may send another request on its connection.
    """

    def __init__(
        self,
        calls: Mapping[str, Call],
        *,
        threads: int,
        limits: BodyLimits,
        framework: "WSGIApplication | None" = None,
        hosts: AllowedHosts | None = None,
        keep_alive: bool = True,
    ) -> None:
        self._calls = calls
        self._threads = ThreadPoolExecutor(threads, "call")
        self._alone = ThreadPoolExecutor(min(threads, ALONE_THREADS), "alone")
        self._limits = limits
        # a2wsgi declares its own types of WSGI and ASGI.
        self._framework = WSGIMiddleware(cast("Any", framework), workers=FRAMEWORK_THREADS) if framework else None
        self._hosts = hosts or AllowedHosts()
        self._ends = [] if keep_alive else [(b"connection", b"close")]
        self._body_bytes = 0
        self._waiting = 0

    def close(self) -> None:
        """Start nothing more."""
        for pool in (self._threads, self._alone, *([self._framework.executor] if self._framework is not None else [])):
            pool.shutdown(wait=False, cancel_futures=True)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        connection: Connection = scope["state"]["connection"]
        connection.head_is_complete()
        call = self._calls.get(scope["path"])
        try:
            await self._serve(_Request(scope, receive, send, connection), call)
        except RuntimeError:
            if not connection.is_closing:  # else the client has gone, and uvicorn could not send
                raise
        connection.is_answered()
        if call is not None and call.afterwards is not None:
            await asyncio.sleep(0)  # the loop writes the answer between two steps
            call.afterwards()

    async def _serve(self, request: _Request, call: Call | None) -> None:
        scope, connection = request.scope, request.connection
        refusal = self._refusal(scope, call)
        if refusal is not None:
            connection.body_is_complete()
            allowed = call.method if call is not None and refusal[0] == HTTPStatus.METHOD_NOT_ALLOWED else ""
            await self._send(request, refusal, closes=refusal[0] in _ENDS_CONNECTION, allowed=allowed)
        elif call is not None:
            await self._answer(request, call)
        elif self._framework is not None:
            connection.body_is_complete()
            await self._framework(scope, request.receive, request.send)
        else:
            connection.body_is_complete()
            await self._send(request, (404, b'{"error":"not found"}'))

    def _refusal(self, scope: Any, call: Call | None) -> Answer | None:
        """What is wrong with the head, as an answer."""
        host, hosts, from_browser = "", 0, False
        for name, value in scope["headers"]:
            if name in _LENGTHS:
                if name == b"transfer-encoding":
                    return _error(411, "body has no Content-Length, expected one")
                if not value.isdigit() or len(value) > _LENGTH_DIGITS or int(value) > self._limits.one_bytes:
                    return _error(413, f"body is too large, expected at most {self._limits.one_bytes} bytes")
            elif name in _BROWSERS_SEND:
                from_browser = True
            elif name == b"host":
                host, hosts = value.decode("latin-1"), hosts + 1
        if call is not None:
            method = "GET" if scope["method"] == "HEAD" else scope["method"]
            if method != call.method:
                return _error(405, f"method is {scope['method']}, expected {call.method}")
            if from_browser and method == "POST":
                return _error(403, "calls from a browser are refused")
            return None
        if hosts > 1:
            return _error(400, f"request has {hosts} Host headers, expected one")
        server = scope["server"]
        if self._framework is not None and not self._hosts.allows(host, server[0] if server else ""):
            return _error(421, f"host is {host!r}, expected a loopback name, this address or an --allowed-host")
        return None

    async def _answer(self, request: _Request, call: Call) -> None:
        message = await request.receive()
        body, size = message.get("body", b""), 0
        parts: list[bytes] = []
        try:
            while True:
                size += len(body)
                self._body_bytes += len(body)
                if self._body_bytes > self._limits.all_bytes:
                    refusal = _error(503, f"bodies under way are beyond {self._limits.all_bytes} bytes, try again")
                    await self._send(request, refusal, closes=True)
                    return
                if message["type"] == "http.disconnect":
                    return
                if not message["more_body"]:
                    break
                parts.append(body)
                message = await request.receive()
                body = message.get("body", b"")
            request.connection.body_is_complete()
            whole = b"".join((*parts, body)) if parts else body
            answer = call.at_once(whole) if call.at_once is not None else None
            if answer is None:
                answer = await self._by_thread(call, whole)
        finally:
            self._body_bytes -= size
        await self._send(request, answer, call.content_type)

    async def _by_thread(self, call: Call, body: bytes) -> Answer:
        if self._waiting >= self._limits.waiting:
            return _error(503, f"{self._waiting} requests are being answered already, try again")
        self._waiting += 1
        try:
            threads = self._alone if call.alone else self._threads
            return await asyncio.get_running_loop().run_in_executor(threads, call.answer, body)
        finally:
            self._waiting -= 1

    async def _send(
        self,
        request: _Request,
        answer: Answer,
        content_type: str = JSON_TYPE,
        *,
        closes: bool = False,
        allowed: str = "",
    ) -> None:
        if request.connection.is_closing:
            # uvicorn has refused what came next (400); it takes an answer only after it has noticed the end.
            while (await request.receive())["type"] != "http.disconnect":
                pass
            return
        status, body = answer
        headers = [(b"content-type", content_type.encode()), (b"content-length", b"%d" % len(body)), *self._ends]
        if allowed:
            headers.append((b"allow", allowed.encode()))
        if closes and not self._ends:
            headers.append((b"connection", b"close"))
        await request.send({"type": "http.response.start", "status": status, "headers": headers})
        await request.send({"type": "http.response.body", "body": body})


def _error(status: int, text: str) -> Answer:
    return status, msgspec.json.encode({"Error": f"gpupack: {text}"})
