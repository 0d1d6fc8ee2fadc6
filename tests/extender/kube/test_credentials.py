"""Tokens and certificates are read again when their files change, while the program runs."""

import json
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from extender.kube.client import KubeApi, events_path
from extender.kube.credentials import CHECK_S, WriteHealth, load_credentials
from extender.kube.errors import ApiError, ApiUnreachable, KubeConfigError
from tests.extender.api_calls import PODS, bind
from tests.fakes.api_server import ApiServer, Exchange, Step, kubeconfig_for, listing, refusing
from tests.fakes.certificate import Authority
from tests.fakes.reflecting import StandingClock


class Tls:
    """An API server that has a certificate, asks for one, and notes whose it was; and the files of both sides."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = Authority("first")
        self.ca, self.certificate, self.key = (directory / name for name in ("ca.crt", "client.crt", "client.key"))
        self.authority.write(self.ca)
        self.authority.issue("client one", self.certificate, self.key)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.serve(self.authority)
        self.seen: list[str] = []

    def serve(self, authority: Authority) -> None:
        """Take a certificate of that authority, for connections made from now on, and believe it."""
        certificate, key, ca = (self.directory / name for name in ("server.crt", "server.key", "server-ca.crt"))
        authority.issue("server", certificate, key)
        authority.write(ca)
        self.context.load_cert_chain(certificate, key)
        self.context.load_verify_locations(ca)

    def answer(self, exchange: Exchange) -> None:
        """An empty list, once it is noted whose certificate the client has."""
        assert isinstance(exchange.sock, ssl.SSLSocket)
        peer = exchange.sock.getpeercert()
        assert peer is not None
        self.seen.append(dict(pair for parts in peer["subject"] for pair in parts)["commonName"])  # type: ignore[misc]
        listing(1, [])(exchange)

    def api(self, server: ApiServer, clock: StandingClock) -> KubeApi:
        """A connection by a kubeconfig that names the files."""
        path = Path(
            kubeconfig_for(server, self.directory, **{"client-certificate": "client.crt", "client-key": "client.key"})
        )
        content = json.loads(path.read_text())
        content["clusters"][0]["cluster"]["certificate-authority"] = "ca.crt"
        path.write_text(json.dumps(content))
        return KubeApi(load_credentials(str(path), None, self.directory, "test", clock), clock)


@pytest.fixture
def clock() -> StandingClock:
    """Moves when told."""
    return StandingClock()


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    """Both sides' files."""
    return Tls(tmp_path)


@pytest.fixture
def secure(tls: Tls, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    """The server."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ApiServer(tls.context) as running:
        running.on_list(*[tls.answer] * 9)
        yield running


def test_a_rotated_token_file_of_a_kubeconfig_is_read_again(
    server: ApiServer, tmp_path: Path, clock: StandingClock
) -> None:
    """Found beside the kubeconfig file, a line end in it is no part of the token; at most a second passes."""
    (tmp_path / "token").write_text("first\n")
    server.on_list(*[listing(1, [])] * 3)
    path = kubeconfig_for(server, tmp_path, tokenFile="token")
    api = KubeApi(load_credentials(path, None, tmp_path, "test", clock))
    for text in ("second", "third"):
        api.list_page(PODS, 0, "", 5.0)
        (tmp_path / "token").write_text(f"the {text}\n")
        clock.advance(CHECK_S)
    api.list_page(PODS, 0, "", 5.0)
    expected = ["Bearer first", "Bearer the second", "Bearer the third"]
    assert expected == [request.headers["authorization"] for request in server.requests]


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe", b"sec\x00ret"])
def test_a_token_file_that_cannot_be_used_keeps_the_last_token(
    server: ApiServer, tmp_path: Path, clock: StandingClock, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    """One warning, without what the file says; a good file is taken at once."""
    file = tmp_path / "token"
    file.write_text("first")
    server.on_list(*[listing(1, [])] * 4)
    api = KubeApi(load_credentials(kubeconfig_for(server, tmp_path, tokenFile="token"), None, tmp_path, "test", clock))
    api.list_page(PODS, 0, "", 5.0)
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    for _ in range(2):
        clock.advance(CHECK_S)
        api.list_page(PODS, 0, "", 5.0)
    file.write_text("the second")
    clock.advance(CHECK_S)
    api.list_page(PODS, 0, "", 5.0)
    expected = ["Bearer first", "Bearer first", "Bearer first", "Bearer the second"]
    assert expected == [request.headers["authorization"] for request in server.requests]
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert str(file) in warning
    assert "sec" not in warning


@pytest.mark.parametrize("content", [b"", b"\xff", b"two\nlines"])
def test_a_token_file_that_cannot_be_used_is_named_at_the_start(
    server: ApiServer, tmp_path: Path, content: bytes
) -> None:
    """There is no other token yet."""
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(KubeConfigError, match="token"):
        load_credentials(kubeconfig_for(server, tmp_path, tokenFile="token"), None, tmp_path, "test")


def test_a_refused_token_is_read_again_at_once(server: ApiServer, tmp_path: Path, clock: StandingClock) -> None:
    """The second is for the file system's sake."""
    (tmp_path / "token").write_text("first")
    server.on_list(refusing(401, "Unauthorized"), listing(1, []))
    api = KubeApi(load_credentials(kubeconfig_for(server, tmp_path, tokenFile="token"), None, tmp_path, "test", clock))
    (tmp_path / "token").write_text("the second")
    with pytest.raises(ApiError, match="401"):
        api.list_page(PODS, 0, "", 5.0)
    api.list_page(PODS, 0, "", 5.0)
    assert server.requests[1].headers["authorization"] == "Bearer the second"


@pytest.mark.parametrize("token", ["two\nlines", "t\u00f6ken"])
def test_a_token_that_no_header_can_hold_is_not_sent_and_not_told(
    server: ApiServer, tmp_path: Path, token: str
) -> None:
    """The error goes to logs."""
    api = KubeApi(load_credentials(kubeconfig_for(server, tmp_path, token=token), None, tmp_path, "test"))
    with pytest.raises(ApiUnreachable, match="credentials can't be read: a credential is not one line") as caught:
        bind(api)
    assert (caught.value.sent, server.requests, token in str(caught.value)) == (False, [], False)


def test_a_token_in_the_kubeconfig_comes_before_a_token_file(server: ApiServer, tmp_path: Path) -> None:
    """As the official client has it."""
    (tmp_path / "token").write_text("from the file")
    server.on_list(listing(1, []))
    path = kubeconfig_for(server, tmp_path, token="its own", tokenFile="token")
    KubeApi(load_credentials(path, None, tmp_path, "test")).list_page(PODS, 0, "", 5.0)
    assert server.requests[0].headers["authorization"] == "Bearer its own"


def test_a_rotated_authority_is_believed(tls: Tls, secure: ApiServer, clock: StandingClock) -> None:
    """The server gets a certificate of another authority, the client the file of that authority."""
    api = tls.api(secure, clock)
    api.list_page(PODS, 0, "", 5.0)
    second = Authority("second")
    tls.serve(second)
    second.write(tls.ca)
    clock.advance(CHECK_S)
    api.list_page(PODS, 0, "", 5.0)
    assert [request.connection for request in secure.requests] == [1, 2]


def test_an_authority_that_was_not_rotated_is_not_believed(tls: Tls, secure: ApiServer, clock: StandingClock) -> None:
    """Nothing is sent; once the file is there, all is well."""
    second = Authority("second")
    tls.serve(second)
    api = tls.api(secure, clock)
    with pytest.raises(ApiUnreachable, match=r"(?i)certificate") as caught:
        api.list_page(PODS, 0, "", 5.0)
    assert (caught.value.sent, secure.requests) == (False, [])
    second.write(tls.ca)
    api.list_page(PODS, 0, "", 5.0)
    assert tls.seen == ["client one"]


def test_a_renewed_client_certificate_is_shown_on_new_connections(
    tls: Tls, secure: ApiServer, clock: StandingClock
) -> None:
    """An old connection would go on with a certificate that expires; half of a new pair changes nothing yet."""
    api = tls.api(secure, clock)
    api.list_page(PODS, 0, "", 5.0)
    other_key = tls.directory / "other.key"
    tls.authority.issue("client two", tls.certificate, other_key)
    clock.advance(CHECK_S)
    api.list_page(PODS, 0, "", 5.0)
    other_key.rename(tls.key)
    clock.advance(CHECK_S)
    api.list_page(PODS, 0, "", 5.0)
    assert tls.seen == ["client one", "client one", "client two"]
    assert [request.connection for request in secure.requests] == [1, 1, 2]


def test_a_certificate_that_cannot_be_used_is_named_at_the_start(tls: Tls, secure: ApiServer) -> None:
    """Not at the first request."""
    tls.key.write_text("no key")
    with pytest.raises(KubeConfigError, match=r"kubeconfig .*: "):
        tls.api(secure, StandingClock())


def test_a_kubeconfig_is_never_written(server: ApiServer, tmp_path: Path) -> None:
    """It is the admin's: nothing of it changes by being used."""
    server.on_list(listing(1, []))
    path = Path(kubeconfig_for(server, tmp_path, token="secret"))
    path.chmod(0o400)
    before = (path.read_bytes(), path.stat().st_mtime_ns)
    KubeApi(load_credentials(str(path), None, tmp_path, "test")).list_page(PODS, 0, "", 5.0)
    assert before == (path.read_bytes(), path.stat().st_mtime_ns)


RBAC = 'pods "train-0" is forbidden: User "system:serviceaccount:a:b" cannot create resource "pods/binding"'


def forbidden(message: str) -> Step:
    """A step that refuses with 403."""
    return lambda exchange: exchange.refuse(403, "Forbidden", message)


def try_bind(api: KubeApi) -> None:
    """A bind that may be refused."""
    with suppress(ApiError, ApiUnreachable):
        bind(api)


def healths(server: ApiServer, tmp_path: Path, clock: StandingClock, *steps: Step) -> list[str]:
    """What is said of writes after each of these answers to a bind, twenty seconds apart."""
    api = KubeApi(load_credentials(kubeconfig_for(server, tmp_path), None, tmp_path, "test", clock), clock)
    server.on_other(*steps)
    found = []
    for _ in steps:
        try_bind(api)
        found.append(api.writes.problem)
        clock.advance(20.0)
    return found


def created(exchange: Exchange) -> None:
    """Answer as the API server does to a write."""
    exchange.answer(201, {"kind": "Status", "status": "Success"})


@pytest.mark.parametrize(
    ("refusal", "text"),
    [(refusing(401, "Unauthorized"), "401 Unauthorized: scripted 401"), (forbidden(RBAC), f"403 Forbidden: {RBAC}")],
)
def test_writes_that_keep_being_denied_are_a_problem_until_one_is_not(
    server: ApiServer, tmp_path: Path, clock: StandingClock, refusal: Step, text: str
) -> None:
    """The first ones may be a hiccup."""
    found = healths(server, tmp_path, clock, created, refusal, refusal, refusal, created, refusal)
    assert found == ["", "", "", f"POST pods/binding has failed for 40 s: {text}", "", ""]


@pytest.mark.parametrize(
    "step",
    [
        refusing(409, "Conflict"),
        refusing(404, "NotFound"),
        refusing(429, "TooManyRequests"),
        forbidden('pods "train-0" is forbidden: namespace team is being terminated'),
    ],
    ids=["conflict", "gone", "not now", "admission"],
)
def test_a_refusal_of_one_object_is_no_problem_of_writes(
    server: ApiServer, tmp_path: Path, clock: StandingClock, step: Step
) -> None:
    """The next one may be accepted."""
    assert healths(server, tmp_path, clock, *[step] * 5) == [""] * 5


@pytest.mark.parametrize(
    "step",
    [
        refusing(500, "InternalError"),
        refusing(503, "ServiceUnavailable"),
        lambda exchange: exchange.answer(404, b"default backend - 404"),
        lambda exchange: exchange.answer(429, b"Too many requests, please try again later."),
        lambda exchange: exchange.answer(200, b"<html>welcome</html>"),
        Exchange.hang_up,
    ],
    ids=["no space", "unavailable", "no backend", "busy", "welcome", "closed"],
)
def test_writes_that_do_not_get_through_for_long_are_a_problem_until_one_does(
    server: ApiServer, tmp_path: Path, clock: StandingClock, step: Step
) -> None:
    """Reads may work all the while."""
    found = healths(server, tmp_path, clock, step, step, step, created, step)
    assert ["POST pods/binding has failed for 40 s: " in each for each in found] == [False, False, True, False, False]


def test_a_problem_of_binds_is_not_healed_by_events_and_passes_when_none_is_tried(
    server: ApiServer, tmp_path: Path, clock: StandingClock
) -> None:
    """Else an extender that is not ready, and so gets no calls, would never be ready again."""
    api = KubeApi(load_credentials(kubeconfig_for(server, tmp_path), None, tmp_path, "test", clock), clock)
    server.on_other(*[forbidden(RBAC), created] * 3)
    for _ in range(3):
        try_bind(api)
        api.create(events_path("team"), {"reason": "R"})
        clock.advance(20.0)
    assert api.writes.problem.startswith("POST pods/binding has failed for 60 s: ")
    clock.advance(WriteHealth.RECENT_S)
    assert api.writes.problem == ""


def test_an_authority_that_is_not_believed_is_a_problem_of_writes(
    tls: Tls, secure: ApiServer, clock: StandingClock
) -> None:
    """Until its file is there."""
    second = Authority("second")
    tls.serve(second)
    secure.on_other(created)
    api = tls.api(secure, clock)
    for _ in range(3):
        try_bind(api)
        clock.advance(20.0)
    assert "certificate verify failed" in api.writes.problem
    second.write(tls.ca)
    bind(api)
    assert api.writes.problem == ""
