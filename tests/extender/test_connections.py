"""A client's connection: what is sent too slowly or without end is given up, and answers come in one piece."""

import socket
from collections.abc import Iterator

import pytest

from extender import connections
from extender.connections import MAX_HEAD_BYTES
from extender.serving import Server
from extender.settings import Address
from extender.shortcut import Call

ONCE_S = 30.0
CALLS = {"/filter": Call(lambda body: (200, body), at_once=lambda body: (200, body))}


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Of a server that waits for a request half a second at most."""
    monkeypatch.setattr(connections, "REQUEST_TIMEOUT_S", 0.5)
    server = Server(Address("127.0.0.1", 0), lambda _environ, _start: [], CALLS, threads=1, max_body_bytes=1000)
    server.start()
    yield server.port
    server.stop()


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
    """For longer than a request may take: kube-scheduler keeps its connections."""
    call = b"POST /filter HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
    with socket.create_connection(("127.0.0.1", port), timeout=ONCE_S) as client:
        client.sendall(call)
        assert client.recv(1000).endswith(b"\r\n\r\n{}")
        client.settimeout(1.0)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(ONCE_S)
        client.sendall(call)
        assert client.recv(1000).endswith(b"\r\n\r\n{}")


@pytest.mark.parametrize(
    "head", [b"GET /%b HTTP/1.1\r\n", b"GET / HTTP/1.1\r\n%b: x\r\n", b"GET / HTTP/1.1\r\nA: %b\r\n"]
)
def test_a_head_beyond_all_measure_is_400(port: int, head: bytes) -> None:
    """It is not kept in memory until it ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=ONCE_S) as client:
        client.sendall(head % (b"a" * (MAX_HEAD_BYTES + 1)) + b"\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 400 ")
