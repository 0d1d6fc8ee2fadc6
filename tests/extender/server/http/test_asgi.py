"""The ASGI app behind uvicorn: known calls are answered, all else is the framework's, and bodies have bounds."""

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from bench.simulated.waiting import wait_until as until
from extender.server.http.call import Answer, Call
from extender.server.http.server import scheduler_server
from extender.server.settings import Address

ONCE_S = 30.0
LONGEST = 1000
GATE = threading.Event()
ANSWERED = threading.Event()
AFTERWARDS: list[bool] = []


def _status(body: bytes) -> int:
    return 400 if body == b"bad" else 200


def _at_once(body: bytes) -> Answer | None:
    return None if body == b"later" else (_status(body), body)


def _waiting(body: bytes) -> Answer:
    if body == b"gate":
        GATE.wait(ONCE_S)
    return _status(body), body + b" waited"


CALLS = {
    "/filter": Call(_waiting, at_once=_at_once),
    "/bind": Call(_waiting),
    "/names": Call(_waiting, at_once=_at_once, afterwards=lambda: AFTERWARDS.append(ANSWERED.wait(ONCE_S))),
    "/health": Call(_waiting, at_once=lambda _body: (503, b"no"), method="GET", content_type="text/plain"),
}


def framework(environ: dict[str, Any], start: Callable[..., object]) -> list[bytes]:
    """Tells what it was asked, with a status of its own."""
    said = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}".encode()
    start("418 I'm a Teapot", [("Content-Length", str(len(said)))])
    return [said]


@pytest.fixture(scope="module")
def patient() -> Iterator[int]:
    """Port of a server with the limits as they are shipped."""
    server = scheduler_server(
        Address("127.0.0.1", 0),
        CALLS,
        framework,
        threads=2,
        max_body_bytes=LONGEST,
        allowed_hosts=["gpus.example.com"],
    )
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
    ],
)
def test_known_calls_are_answered(patient: int, path: str, body: bytes, status: int, answer: bytes) -> None:
    """With a length: kube-scheduler keeps no connection without. What has to wait does so beside the others."""
    assert ask(patient, "POST", path, body, {}) == (status, answer)


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/filter?x=1", {}), ("/filter", {"Connection": "close"}), ("/filter", {"Expect": "100-continue"})],
)
def test_unusual_calls_are_answered_all_the_same(patient: int, path: str, headers: dict[str, str]) -> None:
    """A query string, and clients that want something of the connection."""
    assert ask(patient, "POST", path, b"good", headers) == (200, b"good")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("POST", "/filter/"), ("POST", "/healthz"), ("PUT", "/v1/nodes")]
)
def test_other_paths_are_the_frameworks(patient: int, method: str, path: str) -> None:
    """With its own status."""
    assert ask(patient, method, path, b"", {}) == (418, f"{method} {path}".encode())


@pytest.mark.parametrize("host", ["evil.example", "evil.example:39999", "10.9.8.7", "", "localhost.evil.example"])
def test_a_foreign_host_reaches_the_calls_only(patient: int, host: str) -> None:
    """A web page whose name resolves to loopback (DNS rebinding) reads neither the page nor /v1."""
    status, body = ask(patient, "GET", "/", b"", {"Host": host})
    assert status == 421
    assert b"expected a loopback name, this address or an --allowed-host" in body
    assert ask(patient, "POST", "/filter", b"good", {"Host": host}) == (200, b"good")
    assert ask(patient, "GET", "/health", b"", {"Host": host}) == (503, b"no")


@pytest.mark.parametrize("host", ["localhost:39999", "127.0.0.1", "[::1]:39999", "gpus.example.com"])
def test_people_reach_the_framework_by_loopback_names_and_those_that_are_allowed(patient: int, host: str) -> None:
    """Whatever the port, as with `kubectl port-forward`."""
    assert ask(patient, "GET", "/", b"", {"Host": host}) == (418, b"GET /")


@pytest.mark.parametrize("header", ["Origin", "Sec-Fetch-Site"])
@pytest.mark.parametrize("path", ["/filter", "/bind"])
def test_a_web_page_cannot_make_the_browser_call_the_verbs(patient: int, path: str, header: str) -> None:
    """Somebody looks at the page through `kubectl port-forward`, and at a hostile one at the same time."""
    refused = (403, b'{"Error":"gpupack: calls from a browser are refused"}')
    assert ask(patient, "POST", path, b"good", {header: "https://evil.example"}) == refused


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [("GET", "/filter", "POST"), ("DELETE", "/bind", "POST"), ("HEAD", "/bind", "POST"), ("POST", "/health", "GET")],
)
def test_another_method_is_405_and_says_which_one_is_taken(patient: int, method: str, path: str, expected: str) -> None:
    """A browser that follows a link changes nothing."""
    with closing(http.client.HTTPConnection("127.0.0.1", patient, timeout=ONCE_S)) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("Allow")) == (405, expected)


def test_head_is_get_without_a_body(patient: int) -> None:
    """As HTTP has it."""
    assert ask(patient, "HEAD", "/health", b"", {}) == (503, b"")


def received(client: socket.socket, until: bytes) -> bytes:
    """All that comes up to these bytes."""
    data = b""
    while until not in data:
        block = client.recv(65536)
        assert block, data
        data += block
    return data


def test_what_comes_afterwards_keeps_no_client_waiting(patient: int) -> None:
    """The answer is there while it still runs."""
    assert ask(patient, "POST", "/names", b"{}", {}) == (200, b"{}")
    assert AFTERWARDS == []
    ANSWERED.set()
    until(lambda: AFTERWARDS == [True], "the work after the answer to end")


def test_a_body_in_parts_is_put_together(patient: int) -> None:
    """In packets of their own."""
    with socket.create_connection(("127.0.0.1", patient), timeout=ONCE_S) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in (b"POST /filter HTTP/1.1\r\nHost: x\r\nContent-Len", b"gth: 8\r\n\r\n", b"in p", b"arts"):
            client.sendall(part)
        assert received(client, b"in parts").startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("path", ["/filter", "/v1/nodes"])
@pytest.mark.parametrize(
    ("rest", "status"),
    [
        (b"Content-Length: 1001\r\n\r\n", b"413"),
        (b"Content-Length: %b\r\n\r\n" % (b"0" * 5000 + b"1"), b"413"),
        (b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", b"411"),
    ],
    ids=["too long", "absurdly long", "chunked"],
)
def test_a_body_beyond_the_limit_or_without_a_length_is_refused(
    patient: int, path: str, rest: bytes, status: bytes
) -> None:
    """Before it is read: chunks and their trailers have no bound. The connection ends, the rest would follow."""
    with socket.create_connection(("127.0.0.1", patient), timeout=ONCE_S) as client:
        client.sendall(b"POST %b HTTP/1.1\r\nHost: localhost\r\n%b" % (path.encode(), rest))
        answer = received(client, b'"}')
        assert answer.startswith(b"HTTP/1.1 %b " % status)
        assert b"connection: close\r\n" in answer
        assert ended(client)


def test_half_sent_bodies_are_bounded_in_total(patient: int) -> None:
    """Two of the largest; one more is told to try again, and all is well once they are given up."""
    begun = [socket.create_connection(("127.0.0.1", patient), timeout=ONCE_S) for _ in range(2)]
    for client in begun:
        client.sendall(b"POST /filter HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + b"a" * 990)
    until(lambda: ask(patient, "POST", "/filter", b"a" * 50, {})[0] == 503)
    assert ask(patient, "POST", "/filter", b"a", {}) == (200, b"a")
    for client in begun:
        client.close()
    until(lambda: ask(patient, "POST", "/filter", b"a" * 1000, {})[0] == 200)


def call(path: str, body: bytes) -> bytes:
    """One request as bytes."""
    return b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body)


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


def test_a_flood_of_calls_in_one_read_is_refused_before_it_is_parsed(patient: int) -> None:
    """Each would take far more memory than its bytes."""
    with socket.create_connection(("127.0.0.1", patient), timeout=ONCE_S) as client:
        client.sendall(b"GET /a HTTP/1.1\r\n\r\n" * 1000)
        assert received(client, b"\r\n\r\n").startswith(b"HTTP/1.1 400 ")
        assert ended(client)


def test_two_host_headers_are_refused(patient: int) -> None:
    """A proxy may believe in one, and we in the other."""
    with socket.create_connection(("127.0.0.1", patient), timeout=ONCE_S) as client:
        client.sendall(b"GET /page HTTP/1.1\r\nHost: evil.example\r\nHost: localhost\r\n\r\n")
        assert received(client, b"expected one").startswith(b"HTTP/1.1 400 ")


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
