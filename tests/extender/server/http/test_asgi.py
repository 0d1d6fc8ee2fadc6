"""A client's connection: calls are answered, odd ones by the framework, and what does not come is given up."""

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from extender.server.http import asgi
from extender.server.http.asgi import MAX_HEAD_BYTES
from extender.server.http.call import Answer, Call
from extender.server.http.server import Server
from extender.server.settings import Address

ONCE_S = 30.0
LONGEST = 1000
GATE = threading.Event()


def _status(body: bytes) -> int:
    return 400 if body == b"bad" else 200


def _at_once(body: bytes) -> Answer | None:
    return None if body == b"later" else (_status(body), body)


def _waiting(body: bytes) -> Answer:
    if body == b"gate":
        GATE.wait(ONCE_S)
    return _status(body), body + b" waited"


async def _soon(body: bytes, _threads: object) -> Answer:
    return _status(body), body + b" soon"


CALLS = {"/filter": Call(_waiting, at_once=_at_once), "/bind": Call(_waiting), "/soon": Call(_waiting, soon=_soon)}


def framework(environ: dict[str, Any], start: Callable[..., object]) -> list[bytes]:
    """Tells what it was asked, with a status of its own."""
    said = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}".encode()
    start("418 I'm a Teapot", [("Content-Length", str(len(said)))])
    return [said]


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Of a server that waits for a request half a second at most."""
    monkeypatch.setattr(asgi, "REQUEST_TIMEOUT_S", 0.5)
    yield from _served()


@pytest.fixture(scope="module")
def patient() -> Iterator[int]:
    """Of a server that waits as it is shipped."""
    yield from _served()


def _served() -> Iterator[int]:
    server = Server(Address("127.0.0.1", 0), framework, CALLS, threads=2, max_body_bytes=LONGEST)
    server.start()
    yield server.port
    server.stop()


def ask(port: int, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    """One request on a connection of its own."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=ONCE_S)) as connection:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        assert answer.getheader("Content-Length") is not None
        return answer.status, answer.read()


@pytest.mark.parametrize(
    ("path", "body", "status", "answer"),
    [
        ("/filter", b"good", 200, b"good"),
        ("/filter", b"bad", 400, b"bad"),
        ("/filter", b"", 200, b""),
        ("/filter", b"later", 200, b"later waited"),
        ("/bind", b"good", 200, b"good waited"),
        ("/bind", b"bad", 400, b"bad waited"),
        ("/soon", b"good", 200, b"good soon"),
    ],
)
def test_known_calls_are_answered(patient: int, path: str, body: bytes, status: int, answer: bytes) -> None:
    """With a length: kube-scheduler keeps no connection without. What has to wait does so beside the others."""
    assert ask(patient, "POST", path, body, {}) == (status, answer)


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/filter", {}),
        ("POST", "/filter/", {}),
        ("POST", "/filter?x=1", {}),
        ("POST", "/healthz", {}),
        ("POST", "/filter", {"Origin": "http://evil.example"}),
        ("POST", "/filter", {"Sec-Fetch-Site": "cross-site"}),
        ("POST", "/filter", {"Connection": "close"}),
        ("POST", "/filter", {"Expect": "100-continue"}),
        ("POST", "/filter", {"Connection": "upgrade", "Upgrade": "h2c"}),
    ],
)
def test_anything_else_is_the_frameworks(patient: int, method: str, path: str, headers: dict[str, str]) -> None:
    """Other paths and methods, and what comes from a browser or wants something of the connection."""
    said = f"{method} {path.partition('?')[0]}".encode()
    assert ask(patient, method, path, b"", headers) == (418, said)


def received(client: socket.socket, until: bytes) -> bytes:
    """All that comes up to these bytes."""
    data = b""
    while until not in data:
        block = client.recv(65536)
        assert block, data
        data += block
    return data


def test_a_body_in_parts_is_put_together(patient: int) -> None:
    """In packets of their own, and in HTTP's chunks."""
    with socket.create_connection(("127.0.0.1", patient), timeout=ONCE_S) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in (b"POST /filter HTTP/1.1\r\nHost: x\r\nContent-Len", b"gth: 8\r\n\r\n", b"in p", b"arts"):
            client.sendall(part)
        assert received(client, b"in parts").startswith(b"HTTP/1.1 200 OK\r\n")
        head = b"POST /filter HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        client.sendall(head + b"3\r\nin \r\n6\r\nchunks\r\n0\r\n\r\n")
        assert received(client, b"in chunks").startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    "rest",
    [b"Content-Length: 1001\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n%b\r\n0\r\n\r\n" % (b"a" * 1001)],
    ids=["announced", "sent"],
)
def test_a_body_beyond_the_limit_is_413(patient: int, rest: bytes) -> None:
    """By its announced length or by what comes; the connection is not kept, for the rest of it would follow."""
    with socket.create_connection(("127.0.0.1", patient), timeout=ONCE_S) as client:
        client.sendall(b"POST /filter HTTP/1.1\r\nHost: x\r\n" + rest)
        answer = received(client, b"expected at most 1000 bytes")
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"connection: close\r\n" in answer
        assert ended(client)


def call(path: str, body: bytes) -> bytes:
    """One request as bytes."""
    return b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body)


def test_answers_come_in_the_order_of_the_calls(patient: int) -> None:
    """All sent at once; behind a call that waits, the others wait, too."""
    GATE.clear()
    with socket.create_connection(("127.0.0.1", patient), timeout=ONCE_S) as client:
        client.sendall(call("/filter", b"one") + call("/bind", b"gate") + call("/nowhere", b"") + call("/else", b""))
        assert received(client, b"one").count(b"HTTP/1.1 ") == 1
        assert ask(patient, "POST", "/filter", b"another", {}) == (200, b"another")
        GATE.set()
        rest = received(client, b"/else")
        assert rest.index(b"gate waited") < rest.index(b"POST /nowhere") < rest.index(b"POST /else")
        client.sendall(call("/last", b""))
        assert received(client, b"POST /last").startswith(b"HTTP/1.1 418 ")


def test_a_client_that_does_not_wait_does_no_harm(patient: int) -> None:
    """Half a call is not decided, and an answer that nobody wants is dropped."""
    GATE.clear()
    for beginning in (call("/filter", b"good")[:-1], call("/bind", b"gate")):
        with socket.create_connection(("127.0.0.1", patient), timeout=ONCE_S) as client:
            client.sendall(beginning)
    GATE.set()
    assert ask(patient, "POST", "/bind", b"good", {}) == (200, b"good waited")


def ended(client: socket.socket) -> bool:
    """Whether the server ends the connection, in whatever way."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("beginning", [b"", b"POST /fil", b"POST /filter HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf"])
def test_a_request_that_does_not_come_is_not_waited_for(port: int, beginning: bytes) -> None:
    """The client says nothing more, and gives its place back."""
    with socket.create_connection(("127.0.0.1", port), timeout=ONCE_S) as client:
        client.sendall(beginning)
        assert ended(client)


def test_a_connection_between_two_requests_may_rest(port: int) -> None:
    """For longer than a request may take: kube-scheduler keeps its asgi."""
    with socket.create_connection(("127.0.0.1", port), timeout=ONCE_S) as client:
        client.sendall(call("/filter", b"{}"))
        assert client.recv(1000).endswith(b"\r\n\r\n{}")
        client.settimeout(1.0)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(ONCE_S)
        client.sendall(call("/filter", b"{}"))
        assert client.recv(1000).endswith(b"\r\n\r\n{}")


@pytest.mark.parametrize(
    "head", [b"GET /%b HTTP/1.1\r\n", b"GET / HTTP/1.1\r\n%b: x\r\n", b"GET / HTTP/1.1\r\nA: %b\r\n"]
)
def test_a_head_beyond_all_measure_is_400(port: int, head: bytes) -> None:
    """It is not kept in memory until it ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=ONCE_S) as client:
        client.sendall(head % (b"a" * (MAX_HEAD_BYTES + 1)) + b"\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 400 ")
