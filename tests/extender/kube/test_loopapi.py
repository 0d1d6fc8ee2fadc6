"""Bindings written within an event loop: the same request and the same meaning of errors as from a thread."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from extender.kube import loopapi
from extender.kube.client import KubeApi, connect
from extender.kube.errors import ApiError, ApiUnreachable
from extender.kube.loopapi import fits
from tests.extender.api_calls import bind, one, soon
from tests.fakes.api_server import ApiServer, Exchange, refusing
from tests.fakes.certificate import server_context, write_certificate


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def ok(exchange: Exchange) -> None:
    """Answer as the API server does to a write."""
    exchange.answer(201, {"kind": "Status", "status": "Success"})


def test_the_request_is_the_threads(api: KubeApi, server: ApiServer) -> None:
    """Method, path, body and the headers that mean something."""
    server.on_other(ok, ok)
    bind(api)
    soon(api)
    told = [
        (
            request.method,
            request.path,
            json.loads(request.body),
            *(request.headers[name] for name in ("content-type", "accept", "user-agent", "authorization")),
        )
        for request in server.requests
    ]
    assert told[0] == told[1]


def test_the_connection_is_kept(api: KubeApi, server: ApiServer) -> None:
    """From one bind to the next."""
    server.on_other(ok, ok, ok)
    soon(api, times=3)
    assert [request.connection for request in server.requests] == [1, 1, 1]


def test_a_refusal_is_what_the_api_server_says(api: KubeApi, server: ApiServer) -> None:
    """Status, reason, message, and how long to wait."""
    server.on_other(lambda exchange: exchange.refuse(409, "Conflict", "pod train-0 is already assigned to node-b"))
    with pytest.raises(ApiError) as caught:
        soon(api)
    assert (caught.value.status, caught.value.reason) == (409, "Conflict")
    assert caught.value.message == "pod train-0 is already assigned to node-b"
    server.on_other(refusing(429, "TooManyRequests", {"Retry-After": "7"}), ok)
    with pytest.raises(ApiError) as caught:
        soon(api)
    assert (caught.value.status, caught.value.retry_after_s, len(server.requests)) == (429, 7.0, 2)


def test_a_redirect_is_not_followed(api: KubeApi, server: ApiServer) -> None:
    """Credentials go to one server only."""
    server.on_other(lambda exchange: exchange.answer(307, b"", {"Location": "http://127.0.0.1:1/elsewhere"}))
    with pytest.raises(ApiError) as caught:
        soon(api)
    assert (caught.value.status, len(server.requests)) == (307, 1)


def test_a_lost_reply_on_a_kept_connection_is_not_sent_again(api: KubeApi, server: ApiServer) -> None:
    """A client that takes a kept connection for stale would repeat the bind behind our back."""
    server.on_other(ok, Exchange.hang_up, ok)
    with pytest.raises(ApiUnreachable) as caught:
        soon(api, times=2)
    assert (caught.value.sent, len(server.requests)) == (True, 2)


def test_an_answer_that_breaks_off_after_its_status_is_that_answer(api: KubeApi, server: ApiServer) -> None:
    """201 says that the pod is bound, 403 that it is not."""
    server.on_other(lambda exchange: exchange.answer_half(201, {"status": "Success"}))
    soon(api)
    server.on_other(lambda exchange: exchange.answer_half(403, {"reason": "Forbidden", "message": "x" * 100}))
    with pytest.raises(ApiError) as caught:
        soon(api)
    assert (caught.value.status, caught.value.reason) == (403, "Forbidden")


@pytest.mark.parametrize("name", ["", "..", "a/binding", "a?x", "a%2Fb"])
def test_a_name_that_is_none_is_refused(api: KubeApi, server: ApiServer, name: str) -> None:
    """It would be another path."""
    loop_api = api.for_loop()
    assert loop_api is not None
    with pytest.raises(ValueError, match="expected a Kubernetes object's name"):
        asyncio.run(loop_api.bind_pod("team", name, "uid-1", "node-a", {}, 5.0))
    assert server.requests == []


def test_tls_authority_and_rotated_token_are_the_service_accounts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token is read again once what is known of it has aged."""
    certificate = write_certificate(tmp_path)
    (tmp_path / "token").write_text("first")
    with ApiServer(server_context(certificate)) as server:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
        server.on_other(ok, ok, ok)
        api = connect(None, service_account_dir=tmp_path)
        loop_api = api.for_loop()
        assert loop_api is not None
        tokens = iter(("1", "2", "3"))
        monkeypatch.setattr(loop_api._transport, "headers", lambda _type: {"authorization": next(tokens)})

        async def run() -> None:
            await one(loop_api)
            await one(loop_api)
            monkeypatch.setattr(loopapi, "CREDENTIALS_S", -1.0)
            await one(loop_api)
            await loop_api.close()

        asyncio.run(run())
        assert [request.headers["authorization"] for request in server.requests] == ["1", "1", "2"]


def test_credentials_that_cannot_be_read_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was sent."""
    certificate = write_certificate(tmp_path)
    (tmp_path / "token").write_text("first")
    with ApiServer(server_context(certificate)) as server:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
        api = connect(None, service_account_dir=tmp_path)

        def unreadable(_type: str) -> dict[str, str]:
            raise FileNotFoundError("token")

        loop_api = api.for_loop()
        assert loop_api is not None
        monkeypatch.setattr(loop_api._transport, "headers", unreadable)
        with pytest.raises(ApiUnreachable, match="credentials can't be read: token") as caught:
            asyncio.run(one(loop_api))
        assert (caught.value.sent, server.requests) == (False, [])


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\0"])
def test_a_credential_of_several_lines_is_not_sent(api: KubeApi, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """It would become headers of its own; the message does not tell it."""
    loop_api = api.for_loop()
    assert loop_api is not None
    monkeypatch.setattr(loop_api._transport, "headers", lambda _type: {"authorization": value})
    with pytest.raises(ApiUnreachable, match="can't be read: header 'authorization' has more than one line") as caught:
        asyncio.run(one(loop_api))
    assert caught.value.sent is False


@pytest.mark.parametrize(
    ("host", "proxy", "assert_hostname", "expected"),
    [
        ("https://a", None, None, True),
        ("https://ä", None, None, False),
        ("https://a", "http://proxy:3128", None, False),
        ("https://a", None, False, False),
        ("https://a", None, "api.example", False),
    ],
)
def test_unusual_settings_are_left_to_threads(
    host: str, proxy: str | None, assert_hostname: object, expected: object
) -> None:
    """What this client would do otherwise than the official one, it does not do at all."""
    assert fits(SimpleNamespace(host=host, proxy=proxy, assert_hostname=assert_hostname)) is expected
