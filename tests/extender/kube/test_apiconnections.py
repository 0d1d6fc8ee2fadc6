"""Connections to the API server that an event loop keeps: used again while they can be, and never for two at a time."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from extender.kube import apiconnections
from extender.kube.apiconnections import MAX_BODY_BYTES, ApiAnswer, ApiConnections, UnsentError
from tests.fakes.api_server import ApiServer, Exchange

REQUEST = b"POST /api/v1/namespaces/a/pods/b/binding HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
ONCE_S = 30.0
Use = Callable[[ApiConnections], Coroutine[Any, Any, Any]]


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """Answers what a test wants."""
    with ApiServer() as running:
        yield running


def ok(exchange: Exchange) -> None:
    """As to a write."""
    exchange.answer(201, {"status": "Success"})


def using(server: ApiServer, use: Use) -> Any:
    """What a use of connections to this server gives."""

    async def run() -> Any:
        connections = ApiConnections("127.0.0.1", server.port, None, None)
        try:
            return await use(connections)
        finally:
            await connections.close()

    return asyncio.run(run())


async def in_turn(connections: ApiConnections, times: int) -> list[int]:
    """Statuses of so many exchanges."""
    return [(await connections.exchange(REQUEST, ONCE_S)).status for _ in range(times)]


def test_an_answer_is_told_whole(server: ApiServer) -> None:
    """Status, phrase, headers as they are usually written, body."""
    server.on_other(lambda exchange: exchange.answer(429, b"wait", {"retry-after": "7", "Content-Type": "text/plain"}))
    answer = using(server, lambda connections: connections.exchange(REQUEST, ONCE_S))
    assert isinstance(answer, ApiAnswer)
    assert (answer.status, answer.phrase, answer.body) == (429, "Too Many Requests", b"wait")
    assert answer.headers()["Retry-After"] == "7"


def test_chunks_and_preliminary_answers_are_understood(server: ApiServer) -> None:
    """100 and 103 are no answers."""

    def step(exchange: Exchange) -> None:
        exchange.raw(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
        exchange.open_stream()
        exchange.send(b"in ", b"parts")
        exchange.end_stream()

    server.on_other(step, ok)

    async def use(connections: ApiConnections) -> list[Any]:
        first = await connections.exchange(REQUEST, ONCE_S)
        return [first.status, first.body, *await in_turn(connections, 1)]

    assert using(server, use) == [200, b"in parts", 201]
    assert [request.connection for request in server.requests] == [1, 1]


def test_as_many_connections_as_exchanges_at_a_time(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at most here; later ones wait for a place, and use what is open."""
    monkeypatch.setattr(apiconnections, "CONNECTIONS", 2)
    server.on_other(*[ok] * 8)

    async def use(connections: ApiConnections) -> None:
        await asyncio.gather(*(connections.exchange(REQUEST, ONCE_S) for _ in range(8)))

    using(server, use)
    assert {request.connection for request in server.requests} == {1, 2}


def test_who_gets_no_place_in_time_has_sent_nothing(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The API server does not answer, and all connections wait for it."""
    monkeypatch.setattr(apiconnections, "CONNECTIONS", 1)

    async def use(connections: ApiConnections) -> None:
        first = asyncio.create_task(connections.exchange(REQUEST, 0.5))
        await asyncio.sleep(0)
        with pytest.raises(UnsentError, match=r"no connection was free within 0.1 s"):
            await connections.exchange(REQUEST, 0.1)
        with pytest.raises(TimeoutError, match=r"no answer within 0.5 s"):
            await first

    using(server, use)
    assert len(server.requests) == 1


def test_no_connection_is_nothing_sent(server: ApiServer) -> None:
    """Refused; with the system's words."""

    async def use(_: ApiConnections) -> None:
        with pytest.raises(UnsentError, match=r"refused|Connect call failed"):
            await ApiConnections("127.0.0.1", 1, None, None).exchange(REQUEST, ONCE_S)

    using(server, use)


@pytest.mark.parametrize(
    "step",
    [
        lambda exchange: exchange.answer(201, b"{}", {"Connection": "close"}),
        lambda exchange: exchange.raw(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\nmore"),
        lambda exchange: exchange.answer(201, b"x" * (MAX_BODY_BYTES + 1)),
    ],
    ids=["told to close", "more than an answer", "a body without measure"],
)
def test_a_connection_that_is_spent_is_not_used_again(server: ApiServer, step: Callable[[Exchange], None]) -> None:
    """What comes later could be taken for the next one's answer."""
    server.on_other(step, ok)
    assert using(server, lambda connections: in_turn(connections, 2)) == [201, 201]
    assert [request.connection for request in server.requests] == [1, 2]


def test_a_connection_that_rested_for_long_is_not_used_again(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server may be closing it at this moment."""
    server.on_other(ok, ok)
    monkeypatch.setattr(apiconnections, "IDLE_S", -1.0)
    assert using(server, lambda connections: in_turn(connections, 2)) == [201, 201]
    assert [request.connection for request in server.requests] == [1, 2]


@pytest.mark.parametrize(
    ("step", "error"),
    [
        (lambda exchange: exchange.raw(b"SSH-2.0-OpenSSH\r\n"), "no HTTP answer"),
        (
            lambda exchange: exchange.raw(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
            "no HTTP",
        ),
        (Exchange.hang_up, "closed before an answer"),
        (Exchange.reset, "reset"),
    ],
    ids=["another protocol", "an upgrade", "closed", "reset"],
)
def test_no_answer_is_an_os_error(server: ApiServer, step: Callable[[Exchange], None], error: str) -> None:
    """But none that says that nothing was sent."""
    server.on_other(step)

    async def use(connections: ApiConnections) -> None:
        with pytest.raises(OSError, match=error) as caught:
            await connections.exchange(REQUEST, ONCE_S)
        assert not isinstance(caught.value, UnsentError)

    using(server, use)


def test_who_stops_waiting_takes_the_connection_along(server: ApiServer) -> None:
    """The answer that comes later is nobody's."""
    server.on_other(Exchange.hang, ok)

    async def use(connections: ApiConnections) -> None:
        task = asyncio.create_task(connections.exchange(REQUEST, ONCE_S))
        while not server.requests:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await in_turn(connections, 1)

    using(server, use)
    assert [request.connection for request in server.requests] == [1, 2]
