"""Reads HTTP/1.1 requests from a connection's bytes with httptools, and renders answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from bench.simulated.apiserver.objects.statuses import StatusError

_LONGEST_BODY = 3 * 1024 * 1024
LAST_CHUNK = b"0\r\n\r\n"
WATCH_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request; header names are in lower case, `path` and `query` are decoded."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays open after the answer."""
        return self.headers.get("connection", "").lower() != "close"


class RequestReader:
    """Reads the requests of one connection."""

    def __init__(self) -> None:
        self._message = _Message()
        self._parser = HttpRequestParser(self._message)
        self._message.parser = self._parser

    @property
    def awaits_continue(self) -> bool:
        """Whether the client waits for 100 Continue; reading it resets it."""
        awaits, self._message.awaits_continue = self._message.awaits_continue, False
        return awaits

    def feed(self, data: bytes) -> list[HttpRequest]:
        """The requests that `data` completes.

        Raises:
            ApiError: 400 or 413 for what this server cannot read; the connection cannot be used any more.
        """
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            raise StatusError(400, f"not an HTTP/1.1 request: {error}") from error
        if self._message.size > _LONGEST_BODY:
            raise StatusError(413, f"request body of more than {_LONGEST_BODY} bytes")
        found, self._message.complete = self._message.complete, []
        return found


class _Message:
    """What httptools calls while it parses."""

    def __init__(self) -> None:
        self.parser: HttpRequestParser | None = None
        self.complete: list[HttpRequest] = []
        self.awaits_continue = False
        self.on_message_begin()

    def on_message_begin(self) -> None:
        self.target, self.headers, self.parts, self.size = b"", dict[str, str](), list[bytes](), 0

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.awaits_continue = self.headers.get("expect", "").lower() == "100-continue"

    def on_body(self, body: bytes) -> None:
        self.size += len(body)
        if self.size <= _LONGEST_BODY:
            self.parts.append(body)

    def on_message_complete(self) -> None:
        if self.parser is None:
            raise AssertionError("the parser is set before it reads")
        path, _, query = self.target.decode("latin-1").partition("?")
        pairs = dict(parse_qsl(query, keep_blank_values=True)) if query else {}
        method = self.parser.get_method().decode("ascii")
        self.complete.append(HttpRequest(method, unquote(path), pairs, self.headers, b"".join(self.parts)))


def render(code: int, body: bytes, *, content_type: str = "application/json", keep_alive: bool = True) -> bytes:
    """A whole answer."""
    head = f"HTTP/1.1 {code} {_phrase(code)}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
    if code == 429:
        head += "Retry-After: 1\r\n"
    if not keep_alive:
        head += "Connection: close\r\n"
    return b"%b\r\n%b" % (head.encode("ascii"), body)


def _phrase(code: int) -> str:
    try:
        return HTTPStatus(code).phrase
    except ValueError:
        return "Unknown"


def chunk(data: bytes) -> bytes:
    """One chunk of a streamed answer."""
    return b"%x\r\n%b\r\n" % (len(data), data)
