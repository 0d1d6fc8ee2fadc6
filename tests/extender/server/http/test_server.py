"""The server on a real socket: connections kept, slow and silent clients, TLS with client certificates, a clean end."""

import gc
import http.client
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from extender.kube.errors import ApiError, ApiUnreachable
from extender.server.http.routes import create_app, create_calls
from extender.server.http.server import Server
from extender.server.settings import Address, SettingsError, Tls
from tests.extender import golden
from tests.extender.go_answers import FilterResult, read
from tests.extender.objects import bind_call, filter_call, node, pod
from tests.extender.served import MAX_BODY_BYTES, Served
from tests.fakes.binding_api import Trouble, unreachable
from tests.fakes.certificate import write_certificate

THREADS = 8
SILENT = 5
LOOPBACK = Address("127.0.0.1", 0)
ONCE_S = 30.0
CALLS = "gpupack_extender_requests_total"


def served_pods(*, in_loop: bool = False) -> Served:
    """One node and two pods; Bindings are written by threads or in the event loop."""
    return Served(node("a", 16, 16, 16), pods=(pod("train", 8), pod("slow", 8)), in_loop=in_loop)


@pytest.fixture(scope="module", params=[False, True], ids=["threads", "loop"])
def served(request: pytest.FixtureRequest) -> Served:
    """What the shared servers answer from."""
    return served_pods(in_loop=request.param)


@pytest.fixture(scope="module")
def server(served: Served) -> Iterator[Server]:
    """Listening on a free port; shared, since each stop takes some tenths of a second."""
    running = serve(served)
    yield running
    running.stop()


def serve(served: Served, tls: Tls | None = None) -> Server:
    """A started server."""
    calls = create_calls(served.parts)
    app = create_app(served.parts, calls)
    made = Server(LOOPBACK, app, calls, threads=THREADS, max_body_bytes=MAX_BODY_BYTES, tls=tls)
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


def wait_until(true: Callable[[], bool]) -> bool:
    """Poll until it is; False when it takes too long."""
    deadline = time.monotonic() + ONCE_S
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


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


@pytest.mark.parametrize("trouble", [ApiError(409, "Conflict", "no"), unreachable(sent=True)], ids=["no", "lost"])
def test_a_bind_in_the_loop_that_fails_is_settled_by_a_thread(trouble: Trouble) -> None:
    """The answer is the truth, read back; and where nobody is known to the ledger, a thread does it all."""
    served = served_pods(in_loop=True)
    assert served.loop_api is not None
    server = serve(served)
    try:
        ask_once(server, "/filter", filter_call(pod("train", 8), ["a"]))
        (served.api.lost if isinstance(trouble, ApiUnreachable) else served.api.refusals).append(trouble)
        answer = ask_once(server, "/bind", bind_call("train", "a"))
        refused = b'{"Error":"gpupack: API server: 409 Conflict: no"}'
        assert answer == (200, b'{"Error":""}' if isinstance(trouble, ApiUnreachable) else refused)
        assert (served.loop_api.binds, served.api.reads) == (1, 1)
        assert ask_once(server, "/bind", bind_call("slow", "a")) == (200, b'{"Error":""}')
        assert (served.loop_api.binds, served.api.binds) == (1, 2)
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
    app = create_app(served.parts)
    second = Server(Address("127.0.0.1", server.port), app, threads=4, max_body_bytes=MAX_BODY_BYTES)
    with pytest.raises(OSError, match="in use"):
        second.start()
    del second
    gc.collect()


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A certificate each of the server, of a client that is let in, and of a stranger."""
    return {name: write_certificate(tmp_path_factory.mktemp(name)) for name in ("server", "client", "stranger")}


def tls_of(pems: dict[str, Path]) -> Tls:
    """The server's side."""
    own = pems["server"]
    return Tls(str(own), str(own.with_name("server.key")), str(pems["client"]))


@pytest.fixture(scope="module")
def secure(served: Served, pems: dict[str, Path]) -> Iterator[Server]:
    """Listening with TLS."""
    running = serve(served, tls_of(pems))
    yield running
    running.stop()


def secure_connect(server: Server, pems: dict[str, Path], identity: str | None) -> http.client.HTTPSConnection:
    """A client with that certificate, or with none."""
    context = ssl.create_default_context(cafile=pems["server"])
    if identity is not None:
        context.load_cert_chain(pems[identity], pems[identity].with_name("server.key"))
    return http.client.HTTPSConnection("127.0.0.1", server.port, timeout=ONCE_S, context=context)


def test_a_client_with_a_certificate_is_let_in(secure: Server, pems: dict[str, Path]) -> None:
    """And its connection is kept."""
    connection = secure_connect(secure, pems, "client")
    for _ in range(3):
        status, body = ask(connection, "/filter", filter_call(pod("train", 8), ["a"]))
        assert (status, json.loads(body)["NodeNames"]) == (200, ["a"])
    connection.close()


@pytest.mark.parametrize("identity", [None, "stranger"])
def test_lesson_20_a_client_without_a_certificate_of_ours_is_not_heard(
    served: Served, secure: Server, pems: dict[str, Path], identity: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing that it asks for is done."""
    caplog.set_level(logging.INFO)
    with (
        closing(secure_connect(secure, pems, identity)) as connection,
        pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)),
    ):
        ask(connection, "/bind", bind_call("train", "a"))
    with closing(secure_connect(secure, pems, "client")) as friend:
        assert ask(friend)[0] == 200
    assert "nodeName" not in served.api.pods["train"]["spec"]
    # Anybody can make us write this: one line, without a traceback.
    assert wait_until(lambda: bool(caplog.records))
    assert [(line.levelname, line.exc_info) for line in caplog.records] == [("INFO", None)]


def test_plain_http_to_the_tls_port_is_not_heard(served: Served, secure: Server) -> None:
    """No answer, no bind."""
    with pytest.raises((OSError, http.client.HTTPException)):
        ask_once(secure, "/bind", bind_call("train", "a"))
    assert "nodeName" not in served.api.pods["train"]["spec"]


def test_silent_tls_clients_do_not_stop_the_others(secure: Server, pems: dict[str, Path]) -> None:
    """They connect and never begin the handshake."""
    with ExitStack() as stack:
        for _ in range(SILENT):
            stack.enter_context(socket.create_connection(("127.0.0.1", secure.port), timeout=ONCE_S))
        connection = secure_connect(secure, pems, "client")
        assert [ask(connection)[0] for _ in range(3)] == [200] * 3
        connection.close()


@pytest.mark.parametrize("field", ["certificate", "key", "client_authority"])
@pytest.mark.parametrize("content", [None, "no PEM"])
def test_a_pem_file_that_cannot_be_used_is_named(
    served: Served, pems: dict[str, Path], tmp_path: Path, field: str, content: str | None
) -> None:
    """Missing, or not a PEM file."""
    bad = tmp_path / "bad.pem"
    if content is not None:
        bad.write_text(content, encoding="utf-8")
    good = tls_of(pems)
    files = {name: getattr(good, name) for name in ("certificate", "key", "client_authority")}
    with pytest.raises(SettingsError) as caught:
        serve(served, Tls(**{**files, field: str(bad)}))
    text = str(caught.value)
    assert text.startswith("tls: ")
    assert [part in text for part in (field, repr(str(bad)), "expected")] == [True] * 3


def test_threads_end_with_the_server() -> None:
    """None is left behind."""
    served = served_pods()
    before = set(threading.enumerate())
    server = serve(served)
    ask_once(server)
    server.stop()
    assert wait_until(lambda: set(threading.enumerate()) <= before)
