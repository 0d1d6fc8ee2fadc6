"""Between bytes on a connection and HTTP/1.1 requests and answers: what Kubernetes' clients use of it, and no more."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote

from bench.simulated.apiserver.objects.statuses import ApiError

_LONGEST_HEAD = 64 * 1024
_LONGEST_BODY = 3 * 1024 * 1024
LAST_CHUNK = b"0\r\n\r\n"
WATCH_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Request:
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


@dataclass(frozen=True, slots=True)
class Head:
    """A request's first part, the bytes it took, and the length of the body that follows."""

    request: Request
    length: int
    body_length: int

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for leave to send the body."""
        return self.request.headers.get("expect", "").lower() == "100-continue"


def parse_head(buffer: bytearray) -> Head | None:
    """Read a request's head from the beginning of `buffer`; None when it has not come whole.

    Raises:
        ApiError: 400, 411 or 413 for what is no request that this server can read.
    """
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        if len(buffer) > _LONGEST_HEAD:
            raise ApiError(400, f"request head of more than {_LONGEST_HEAD} bytes")
        return None
    lines = buffer[:end].decode("latin-1").split("\r\n")
    first = lines[0].split(" ")
    if len(first) != 3 or not first[2].startswith("HTTP/1."):
        raise ApiError(400, f"request line {lines[0][:100]!r}: expected METHOD TARGET HTTP/1.1")
    headers = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            raise ApiError(400, f"header {line[:100]!r}: expected NAME: VALUE")
        headers[name.strip().lower()] = value.strip()
    if "transfer-encoding" in headers:
        raise ApiError(411, "request with Transfer-Encoding, expected Content-Length", reason="BadRequest")
    length = headers.get("content-length", "0")
    if not length.isdigit():
        raise ApiError(400, f"Content-Length {length!r}: expected a number")
    if int(length) > _LONGEST_BODY:
        raise ApiError(413, f"request body of {length} bytes, expected at most {_LONGEST_BODY}")
    path, _, query = first[1].partition("?")
    pairs = dict(parse_qsl(query, keep_blank_values=True))
    return Head(Request(first[0], unquote(path), pairs, headers), end + 4, int(length))


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
