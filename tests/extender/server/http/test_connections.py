"""What clients may take of a server: places, time, bytes of heads; and probes are answered whatever strangers do."""

import http.client
import socket
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest

from bench.simulated.waiting import wait_until
from extender.server.http.call import Call
from extender.server.http.connections import Limits
from extender.server.http.server import PROBE_LIMITS, PROBE_WAITING, SCHEDULER_LIMITS, probe_server, scheduler_server
from extender.server.settings import Address
from tests.fakes.reaching import expected_of_every_address

ONCE_S = 30.0
PROBE_S = 1.0
"""What the kubelet waits for an answer by default."""

CALLS = {"/filter": Call(lambda body: (200, body), at_once=lambda body: (200, body))}


def nothing(_environ: Any, start: Any) -> list[bytes]:
    """An app without content."""
    start("404 Not Found", [("Content-Length", "0")])
    return []


@contextmanager
def serving(**limits: Any) -> Iterator[int]:
    """Port of a server for kube-scheduler, with other limits than the shipped ones."""
    chosen = replace(SCHEDULER_LIMITS, **limits)
    server = scheduler_server(Address("127.0.0.1", 0), CALLS, nothing, threads=2, max_body_bytes=1000, limits=chosen)
    server.start()
    try:
        yield server.port
    finally:
        server.stop()


@contextmanager
def probed(limits: Limits = PROBE_LIMITS, metrics_s: float = 0.0, host: str = "127.0.0.1") -> Iterator[int]:
    """Port of a server for probes, whose metrics take so long."""

    def metrics(_body: bytes) -> tuple[int, bytes]:
        time.sleep(metrics_s)
        return 200, b"gpus 1\n"

    def health(_body: bytes) -> tuple[int, bytes]:
        return 200, b"ok\n"

    calls = {"/healthz": Call(health, at_once=health, method="GET"), "/metrics": Call(metrics, method="GET")}
    server = probe_server(Address(host, 0), calls, limits)
    server.start()
    try:
        yield server.port
    finally:
        server.stop()


def connected(port: int) -> socket.socket:
    """A client's connection."""
    return socket.create_connection(("127.0.0.1", port), timeout=ONCE_S)


def ended(client: socket.socket) -> bool:
    """Whether the server ends the connection, in whatever way."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def call(body: bytes, path: bytes = b"/filter") -> bytes:
    """One request as bytes."""
    return b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (path, len(body), body)


def probe(port: int, timeout_s: float = PROBE_S, path: str = "/healthz", host: str = "127.0.0.1") -> int:
    """Status of an answer, as the kubelet asks."""
    with closing(http.client.HTTPConnection(host, port, timeout=timeout_s)) as connection:
        connection.request("GET", path)
        return connection.getresponse().status


def test_probes_get_through_by_ipv4_and_ipv6() -> None:
    """A pod of an IPv6-only cluster has no other address that the kubelet could probe."""
    with probed(host="::") as port:
        found = {host: probe(port, host=host) for host in expected_of_every_address()}
    assert found == dict.fromkeys(expected_of_every_address(), 200)


@pytest.mark.parametrize("beginning", [b"", b"POST /fil", call(b"whole")[:-1]], ids=["silent", "head", "body"])
def test_a_request_that_does_not_come_gives_its_place_back(beginning: bytes) -> None:
    """The client says nothing more."""
    with serving(request_s=0.2) as port, connected(port) as client:
        client.sendall(beginning)
        assert ended(client)


def test_a_request_that_trickles_gives_its_place_back() -> None:
    """The time counts from its first byte, not from its latest."""
    with serving(request_s=0.3) as port, connected(port) as client:
        client.sendall(call(b"{}"))
        assert client.recv(1000).endswith(b"{}")
        client.settimeout(0.02)
        with suppress(ConnectionError):
            for byte in call(b"{}" * 100):
                client.sendall(bytes([byte]))
                with suppress(TimeoutError):
                    assert client.recv(1) == b""
                    return
        assert byte != call(b"{}" * 100)[-1]


def test_a_connection_between_two_requests_may_rest() -> None:
    """For longer than a request may take: kube-scheduler keeps its connections."""
    with serving(request_s=0.2) as port, connected(port) as client:
        client.sendall(call(b"{}"))
        assert client.recv(1000).endswith(b"\r\n\r\n{}")
        client.settimeout(0.6)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(ONCE_S)
        client.sendall(call(b"{}"))
        assert client.recv(1000).endswith(b"\r\n\r\n{}")


@pytest.mark.parametrize(
    "head", [b"GET /%b HTTP/1.1\r\n", b"GET / HTTP/1.1\r\n%b: x\r\n", b"GET / HTTP/1.1\r\nA: %b\r\n"]
)
def test_a_head_beyond_the_limit_is_400(head: bytes) -> None:
    """It is not kept in memory until it ends."""
    with serving(head_bytes=1000) as port, connected(port) as client:
        client.sendall(head % (b"a" * 1000))
        assert client.recv(100).startswith(b"HTTP/1.1 400 ")
        assert wait_until(lambda: ended(client))


def test_a_second_head_behind_a_slow_call_is_bounded_too() -> None:
    """And a large body that is not at its end is no head."""
    with serving(head_bytes=100) as port, connected(port) as client:
        client.sendall(call(b"a" * 900))
        assert client.recv(2000).endswith(b"a" * 900)
        client.sendall(call(b"a" * 900)[:-1])
        client.sendall(b"a")
        assert client.recv(2000).endswith(b"a" * 900)


@pytest.mark.parametrize("split", range(1, 8))
def test_a_large_body_is_no_head_wherever_the_head_ends(split: int) -> None:
    """Its end may come in two reads."""
    head, _, body = call(b"a" * 900).partition(b"\r\n\r\n")
    with serving(head_bytes=100) as port, connected(port) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        whole = head + b"\r\n\r\n" + body
        at = len(head) + 4 - split
        client.sendall(whole[:at])
        time.sleep(0.02)
        client.sendall(whole[at:])
        assert client.recv(2000).endswith(b"a" * 900)


def test_unfinished_heads_are_bounded_in_total() -> None:
    """Whoever goes beyond is told so; a complete call is answered all the same."""
    with serving(all_heads_bytes=10_000) as port, ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(connected(port)).sendall(b"GET / HTTP/1.1\r\nA: " + b"a" * 2800)
        one_more = stack.enter_context(connected(port))
        wait_until(lambda: refused(port))
        one_more.sendall(call(b"{}"))
        assert one_more.recv(1000).endswith(b"{}")


def refused(port: int) -> bool:
    """Whether half a head of some 2,800 bytes is answered with 400."""
    with connected(port) as client:
        client.sendall(b"GET / HTTP/1.1\r\nA: " + b"a" * 2800)
        client.settimeout(0.2)
        with suppress(TimeoutError):
            return client.recv(100).startswith(b"HTTP/1.1 400 ")
        return False


def test_the_oldest_connection_without_a_request_makes_room() -> None:
    """Silent ones first, then those that rest between two requests; a call is never refused for them."""
    with serving(connections=4) as port, ExitStack() as stack:
        kept = stack.enter_context(connected(port))
        kept.sendall(call(b"1"))
        assert kept.recv(1000).endswith(b"1")
        silent = [stack.enter_context(connected(port)) for _ in range(9)]
        assert [ended(client) for client in silent[:6]] == [True] * 6
        kept.sendall(call(b"2"))
        assert kept.recv(1000).endswith(b"2")


def test_a_client_that_does_not_read_gives_its_place_back() -> None:
    """Else it would take one of the threads that answer people for ever."""
    big = b"a" * 8_000_000

    def page(_environ: Any, start: Any) -> list[bytes]:
        start("200 OK", [("Content-Length", str(len(big)))])
        return [big]

    limits = replace(SCHEDULER_LIMITS, unread_s=0.2)
    server = scheduler_server(Address("127.0.0.1", 0), CALLS, page, threads=2, max_body_bytes=1000, limits=limits)
    server.start()
    try:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(ONCE_S)
            client.connect(("127.0.0.1", server.port))
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            wait_until(lambda: broken(client))
            with suppress(ConnectionResetError):
                assert received_size(client) < len(big)
    finally:
        server.stop()


def broken(client: socket.socket) -> bool:
    """Whether the server has closed the connection, which a client that does not read sees when it sends."""
    try:
        client.sendall(b"G")
    except OSError:
        return True
    return False


def received_size(client: socket.socket) -> int:
    """How many bytes come until the end."""
    size = 0
    while block := client.recv(1_000_000):
        size += len(block)
    return size


def test_a_probe_is_answered_while_strangers_hold_every_place() -> None:
    """More silent connections than there are places, opened before and after the probe's own."""
    with probed(replace(PROBE_LIMITS, connections=50)) as port, ExitStack() as stack:
        for _ in range(120):
            stack.enter_context(connected(port))
        assert [probe(port) for _ in range(5)] == [200] * 5
        early = stack.enter_context(connected(port))
        for _ in range(40):
            stack.enter_context(connected(port))
        early.sendall(b"GET /healthz HTTP/1.1\r\nHost: 10.1.2.3\r\n\r\n")
        early.settimeout(PROBE_S)
        assert early.recv(100).startswith(b"HTTP/1.1 200 ")


def test_a_probe_is_answered_while_strangers_scrape() -> None:
    """Metrics take a thread; more scrapes than a few are told to come again, so that places stay closable."""
    with probed(replace(PROBE_LIMITS, connections=PROBE_WAITING + 4), metrics_s=1.0) as port, ExitStack() as stack:
        scrapes = [stack.enter_context(connected(port)) for _ in range(PROBE_WAITING + 4)]
        for client in scrapes:
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert [probe(port) for _ in range(5)] == [200] * 5
        statuses = [client.recv(12) for client in scrapes]
        assert sorted(statuses) == [b"HTTP/1.1 200"] * PROBE_WAITING + [b"HTTP/1.1 503"] * 4


@pytest.mark.parametrize("where", ["trailers", "body", "head"])
def test_what_strangers_send_to_the_probes_address_is_not_kept(where: str, caplog: pytest.LogCaptureFixture) -> None:
    """28 MiB of chunked trailers once took 681 MiB; and they leave no tracebacks in the log."""
    beginning = {
        "trailers": b"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        "body": b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n",
        "head": b"GET /healthz HTTP/1.1\r\nHost: x\r\n",
    }[where]
    lines = b"a: b\r\n" * 100_000
    with probed() as port:
        assert probe(port) == 200
        tracemalloc.start()
        try:
            for _ in range(5):
                with connected(port) as client, suppress(ConnectionError):
                    client.sendall(beginning)
                    for _ in range(5):
                        client.sendall(lines)
            assert probe(port) == 200
            assert tracemalloc.get_traced_memory()[1] < 4_000_000
            assert [line for line in caplog.records if line.exc_info] == []
        finally:
            tracemalloc.stop()


def test_trailers_to_the_schedulers_address_are_not_kept() -> None:
    """Chunks are refused as soon as the head announces them."""
    with serving() as port:
        tracemalloc.start()
        try:
            for path in (b"/filter", b"/else"):
                with connected(port) as client, suppress(ConnectionError):
                    client.sendall(b"POST %b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" % path)
                    for _ in range(20):
                        client.sendall(b"a: b\r\n" * 100_000)
            assert tracemalloc.get_traced_memory()[1] < 16_000_000
        finally:
            tracemalloc.stop()


def test_a_connection_for_probes_ends_with_its_answer() -> None:
    """One request each: nothing that follows has to be parsed."""
    with probed() as port, connected(port) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
        answer = b""
        while block := client.recv(1000):
            answer += block
        assert answer.count(b"HTTP/1.1 200") == 1
        assert answer.endswith(b"\r\n\r\nok\n")
        assert b"connection: close\r\n" in answer.lower()


@pytest.mark.parametrize("path", ["/filter", "/bind", "/v1/nodes", "/debug/pprof/", "/"])
def test_lesson_20_the_probes_address_serves_nothing_else(path: str) -> None:
    """Reachable from elsewhere: neither the verbs nor the pods' names."""
    with probed() as port:
        assert probe(port, path=path) == 404


def test_a_connection_for_probes_has_a_longest_life() -> None:
    """Whatever it does."""
    with probed(replace(PROBE_LIMITS, request_s=1.0, lifetime_s=0.3)) as port, connected(port) as client:
        client.sendall(b"GET /heal")
        assert ended(client)
