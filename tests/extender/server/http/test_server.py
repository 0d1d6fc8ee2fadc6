"""The server on a real socket: connections kept, slow and silent clients, TLS with client certificates, a clean end."""

import gc
import http.client
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace

import pytest

from bench.simulated.waiting import wait_until
from extender.kube.errors import ApiUnreachable
from extender.server.http.server import SCHEDULER_LIMITS, Server, fitted
from extender.server.settings import Tls
from tests.extender import golden
from tests.extender.go_answers import FilterResult, read
from tests.extender.objects import bind_call, filter_call, node, pod, raw
from tests.extender.served import MAX_BODY_BYTES, Served
from tests.fakes.binding_api import Trouble, unreachable
from tests.fakes.refusals import refused

THREADS = 8
SILENT = 5
ONCE_S = 30.0
CALLS = "gpupack_extender_requests_total"


def served_pods() -> Served:
    """One node and two pods."""
    return Served(node("a", 16, 16, 16), pods=(pod("train", 8), pod("slow", 8)))


@pytest.fixture(scope="module")
def served() -> Served:
    """What the shared servers answer from."""
    return served_pods()


@pytest.fixture(scope="module")
def server(served: Served) -> Iterator[Server]:
    """Listening on a free port; shared, since each stop takes some tenths of a second."""
    running = serve(served)
    yield running
    running.stop()


def serve(served: Served, tls: Tls | None = None) -> Server:
    """A started server."""
    made = served.server(tls, threads=THREADS)
    made.start()
    return made


def connect(server: Server) -> http.client.HTTPConnection:
    """A client's connection."""
    return http.client.HTTPConnection("127.0.0.1", server.port, timeout=ONCE_S)


def ask_once(server: Server, path: str = "/healthz", body: bytes | None = None) -> tuple[int, bytes]:
    """One request on a connection of its own."""
    with closing(connect(server)) as connection:
        return ask(connection, path, body)


def ask(connection: http.client.HTTPConnection, path: str = "/healthz", body: bytes | None = None) -> tuple[int, bytes]:
    """One request, answered in full."""
    connection.request("GET" if body is None else "POST", path, body)
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_a_recorded_call_is_answered_on_a_connection_that_stays(server: Server) -> None:
    """Kube-scheduler's own bytes, several times: each answer has a length, and the connection is not closed."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=ONCE_S) as client:
        for _ in range(5):
            client.sendall(golden.request("filter-nodeCacheCapable-true"))
            answer = http.client.HTTPResponse(client)
            answer.begin()
            body = answer.read()
            assert (answer.status, answer.getheader("Content-Type")) == (200, "application/json")
            assert answer.getheader("Content-Length") == str(len(body))
            assert answer.getheader("Transfer-Encoding") is None
            assert (answer.getheader("Connection") or "").lower() != "close"
            assert read(body, FilterResult).error == ""


@pytest.mark.parametrize("path", ["/filter", "/nowhere", "/v1/nodes", "/metrics"])
def test_every_answer_keeps_the_connection(server: Server, path: str) -> None:
    """Errors, too: a chunked answer or a closed connection costs the next call a new one."""
    connection = connect(server)
    connection.connect()
    first = connection.sock
    for _ in range(3):
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.getheader("Content-Length") == str(len(answer.read()))
    assert connection.sock is first
    connection.close()


def test_a_body_beyond_the_limit_is_413(server: Server) -> None:
    """By its announced length, before it is sent."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=ONCE_S) as client:
        client.sendall(f"POST /filter HTTP/1.1\r\nHost: x\r\nContent-Length: {MAX_BODY_BYTES + 1}\r\n\r\n".encode())
        assert client.recv(100).startswith(b"HTTP/1.1 413 ")
    assert ask_once(server)[0] == 200


def test_slow_and_silent_clients_do_not_block_the_others(server: Server) -> None:
    """One sends nothing, one half a request line, one half a body; and nothing more."""
    beginnings = (b"", b"POST /fil", b"POST /filter HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    with ExitStack() as stack:
        for beginning in beginnings:
            client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=ONCE_S))
            client.sendall(beginning)
        connection = connect(server)
        assert [ask(connection)[0] for _ in range(10)] == [200] * 10
        connection.close()


def test_a_client_that_hangs_up_in_the_middle_does_no_harm(server: Server) -> None:
    """Many times: no thread is lost."""
    for _ in range(2 * THREADS):
        with socket.create_connection(("127.0.0.1", server.port), timeout=ONCE_S) as client:
            client.sendall(b"POST /filter HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert ask_once(server, "/filter", filter_call(pod("train", 8), ["a"]))[0] == 200


def test_lesson_14_filter_is_answered_while_binds_wait(served: Served, server: Server) -> None:
    """The API server is slow; the scheduler's other calls are not."""
    ask_once(server, "/filter", filter_call(pod("slow", 8), ["a"]))
    served.api.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        bind = pool.submit(ask_once, server, "/bind", bind_call("slow", "a"))
        try:
            assert served.api.entered.acquire(timeout=ONCE_S)
            status, body = ask_once(server, "/filter", filter_call(pod("other", 8), ["a"]))
        finally:
            served.api.gate.set()
        assert (status, read(body, FilterResult).node_names) == (200, ["a"])
        assert bind.result(ONCE_S) == (200, b'{"Error":""}')


def test_what_needs_no_api_server_is_answered_while_binds_take_all_threads() -> None:
    """Preemption and metrics."""
    served = served_pods()
    server = served.server(threads=1)
    server.start()
    victims = raw({"Pod": pod("other", 8), "NodeNameToMetaVictims": {"a": {"Pods": [], "NumPDBViolations": 0}}})
    served.api.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        ask_once(server, "/filter", filter_call(pod("slow", 8), ["a"]))
        bind = pool.submit(ask_once, server, "/bind", bind_call("slow", "a"))
        try:
            assert served.api.entered.acquire(timeout=ONCE_S)
            assert [ask_once(server, "/preempt", victims)[0], ask_once(server, "/metrics")[0]] == [200, 200]
            assert not bind.done()
        finally:
            served.api.gate.set()
        assert bind.result(ONCE_S) == (200, b'{"Error":""}')
    server.stop()


@pytest.mark.parametrize("trouble", [refused(403, "Forbidden", "no"), unreachable(sent=True)], ids=["no", "lost"])
def test_a_bind_that_fails_answers_the_truth(trouble: Trouble) -> None:
    """As it is read back from the API server."""
    served = served_pods()
    server = serve(served)
    try:
        ask_once(server, "/filter", filter_call(pod("train", 8), ["a"]))
        (served.api.lost if isinstance(trouble, ApiUnreachable) else served.api.refusals).append(trouble)
        answer = ask_once(server, "/bind", bind_call("train", "a"))
        said = b'{"Error":"gpupack: API server: 403 Forbidden: no"}'
        assert answer == (200, b'{"Error":""}' if isinstance(trouble, ApiUnreachable) else said)
        assert (served.api.binds, served.api.reads) == (1, 1)
        assert ask_once(server, "/bind", bind_call("slow", "a")) == (200, b'{"Error":""}')
        assert ask_once(server, "/bind", b"nonsense")[0] == 400
        counted = [served.sample(CALLS, verb="bind", outcome=one) for one in ("ok", "error", "malformed")]
        assert counted == ([2, 0, 1] if isinstance(trouble, ApiUnreachable) else [1, 1, 1])
    finally:
        server.stop()


def test_lesson_9_stopping_finishes_what_runs_and_takes_nothing_more() -> None:
    """The bind that is under way is answered; a new connection is refused meanwhile."""
    served = served_pods()
    server = serve(served)
    port = server.port
    ask_once(server, "/filter", filter_call(pod("train", 8), ["a"]))
    served.api.gate.clear()
    with ThreadPoolExecutor(2) as pool:
        bind = pool.submit(ask_once, server, "/bind", bind_call("train", "a"))
        try:
            assert served.api.entered.acquire(timeout=ONCE_S)
            stop = pool.submit(server.stop)
            refused = wait_until(lambda: not listens(port))
        finally:
            served.api.gate.set()
        assert bind.result(ONCE_S) == (200, b'{"Error":""}')
        stop.result(ONCE_S)
    assert refused
    assert not server.alive


def listens(port: int) -> bool:
    """Whether a connection is accepted."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=ONCE_S).close()
    except OSError:
        return False
    return True


def test_an_address_that_is_taken_is_an_os_error(served: Served, server: Server) -> None:
    """At start, not later."""
    second = served.server(port=server.port)
    with pytest.raises(OSError, match=f"can't listen on 127.0.0.1:{server.port}: .*in use"):
        second.start()
    del second
    gc.collect()


@pytest.mark.parametrize(("files", "expected"), [(8192, 1024), (1024, 256), (3, 1)])
def test_connections_leave_files_for_the_rest(files: int, expected: int) -> None:
    """Else strangers' connections keep the API server and the probes out."""
    assert fitted(SCHEDULER_LIMITS, files, 4) == replace(SCHEDULER_LIMITS, connections=expected)


def test_the_limit_of_open_files_is_raised_as_far_as_it_may_be() -> None:
    """Container runtimes start processes with 1,024."""
    program = (
        "import resource\n"
        "from extender.server.http.server import raise_open_files\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, 2048))\n"
        "print(raise_open_files(), resource.getrlimit(resource.RLIMIT_NOFILE), raise_open_files())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "2048 (2048, 2048) 2048\n"


def test_threads_end_with_the_server() -> None:
    """None is left behind."""
    served = served_pods()
    before = set(threading.enumerate())
    server = serve(served)
    ask_once(server)
    server.stop()
    assert wait_until(lambda: set(threading.enumerate()) <= before)
