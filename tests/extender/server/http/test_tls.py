"""TLS with client certificates on a real socket, and files that are read again when they change."""

import http.client
import json
import logging
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from cryptography import x509

from bench.simulated.waiting import wait_until
from extender.server.http.server import Server
from extender.server.settings import SettingsError, Tls
from tests.extender.objects import bind_call, filter_call, node, pod
from tests.extender.served import Served
from tests.fakes.certificate import write_certificate

SILENT = 5
ONCE_S = 30.0


@pytest.fixture(scope="module")
def served() -> Served:
    """What the servers answer from."""
    return Served(node("a", 16), pods=(pod("train", 8),))


def serve(served: Served, tls: Tls) -> Server:
    """A started server."""
    made = served.server(tls)
    made.start()
    return made


def ask(connection: http.client.HTTPConnection, path: str = "/healthz", body: bytes | None = None) -> tuple[int, bytes]:
    """One request, answered in full."""
    connection.request("GET" if body is None else "POST", path, body)
    answer = connection.getresponse()
    return answer.status, answer.read()


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
        ask(http.client.HTTPConnection("127.0.0.1", secure.port, timeout=ONCE_S), "/bind", bind_call("train", "a"))
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


def serial_of(server: Server, authority: Path, client: Path) -> int:
    """Serial number of the certificate that the server shows to a client that trusts `authority`.

    Raises:
        ssl.SSLError: the server shows another, or does not let the client in.
    """
    context = ssl.create_default_context(cafile=authority)
    context.load_cert_chain(client, client.with_name("server.key"))
    with closing(http.client.HTTPSConnection("127.0.0.1", server.port, timeout=ONCE_S, context=context)) as connection:
        status, _ = ask(connection)
        assert status == 200
        certificate = connection.sock.getpeercert(binary_form=True)
        assert certificate is not None
        return x509.load_der_x509_certificate(certificate).serial_number


def serial_in(path: Path) -> int:
    """Serial number of the certificate in a PEM file."""
    return x509.load_pem_x509_certificate(path.read_bytes()).serial_number


@pytest.fixture
def renewable(served: Served, tmp_path: Path) -> Iterator[tuple[Server, Path, Path]]:
    """A server, its certificate and its client authority, in files of its own."""
    own, client = tmp_path / "own", tmp_path / "client"
    own.mkdir()
    client.mkdir()
    files = write_certificate(own), write_certificate(client)
    server = serve(served, Tls(str(files[0]), str(own / "server.key"), str(files[1])))
    yield server, *files
    server.stop()


def test_a_renewed_certificate_is_served_without_a_restart(renewable: tuple[Server, Path, Path]) -> None:
    """From the next handshake on; a connection that is open stays."""
    server, own, client = renewable
    assert serial_of(server, own, client) == serial_in(own)
    before = serial_in(own)
    write_certificate(own.parent)
    assert serial_in(own) != before
    assert serial_of(server, own, client) == serial_in(own)


def test_a_replaced_client_authority_lets_in_its_clients_and_no_others(
    renewable: tuple[Server, Path, Path], tmp_path: Path
) -> None:
    """The old authority is not trusted any more."""
    server, own, client = renewable
    old = tmp_path / "old"
    old.mkdir()
    for name in ("ca.crt", "server.key"):
        (old / name).write_bytes(client.with_name(name).read_bytes())
    write_certificate(client.parent)
    assert serial_of(server, own, client) == serial_in(own)
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
        serial_of(server, own, old / "ca.crt")


def test_a_change_that_cannot_be_used_leaves_what_is_in_use(
    renewable: tuple[Server, Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    """A key that does not fit yet, for example: one warning, and the next change is read."""
    server, own, client = renewable
    before = serial_in(own)
    good = own.read_bytes(), own.with_name("server.key").read_bytes()
    trusted = client.parent / "trusted.crt"
    trusted.write_bytes(good[0])
    own.write_text("no PEM")
    assert [serial_of(server, trusted, client) for _ in range(2)] == [before, before]
    assert [line.levelname for line in caplog.records] == ["WARNING"]
    assert "what was read before stays in use" in caplog.text
    write_certificate(own.parent)
    assert serial_of(server, own, client) == serial_in(own)
