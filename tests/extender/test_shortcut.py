"""The shortcut answers what it knows and leaves the rest to the framework."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from extender.shortcut import Answer, Call, Receive, Scope, Send, Shortcut

LONGEST = 10


@pytest.fixture(scope="module")
def threads() -> Iterator[ThreadPoolExecutor]:
    """For calls that wait."""
    with ThreadPoolExecutor(2, "waits") as pool:
        yield pool


async def _framework(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 418, "headers": []})
    await send({"type": "http.response.body", "body": b"framework"})


def _status(body: bytes) -> int:
    return 400 if body == b"bad" else 200


def _at_once(body: bytes) -> Answer | None:
    return None if body == b"later" else (_status(body), body)


def _waiting(body: bytes) -> Answer:
    return _status(body), body + b" waited"


CALLS = {"/filter": Call(_waiting, at_once=_at_once), "/bind": Call(_waiting)}


def ask(threads: ThreadPoolExecutor, *blocks: bytes, gone: bool = False, **scope: Any) -> list[Any]:
    """Status, body and headers of one call whose body comes in these blocks; nothing when it was not answered."""
    messages = [{"type": "http.request", "body": block, "more_body": True} for block in blocks]
    messages[-1]["more_body"] = gone
    messages.append({"type": "http.disconnect"})
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    app = Shortcut(_framework, CALLS, threads, max_body_bytes=LONGEST)
    whole = {"type": "http", "method": "POST", "path": "/filter", "headers": [], **scope}
    asyncio.run(app(whole, receive, send))
    return [sent[0]["status"], sent[1]["body"], list(sent[0]["headers"])] if sent else []


@pytest.mark.parametrize(
    ("path", "blocks", "status", "answer"),
    [
        ("/filter", (b"good",), 200, b"good"),
        ("/filter", (b"bad",), 400, b"bad"),
        ("/filter", (b"",), 200, b""),
        ("/filter", (b"in ", b"parts", b""), 200, b"in parts"),
        ("/filter", (b"later",), 200, b"later waited"),
        ("/bind", (b"good",), 200, b"good waited"),
        ("/bind", (b"bad",), 400, b"bad waited"),
    ],
)
def test_known_calls_are_answered(
    threads: ThreadPoolExecutor, path: str, blocks: tuple[bytes, ...], status: int, answer: bytes
) -> None:
    """With a length: kube-scheduler keeps no connection without. What has to wait gets a thread."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
    assert ask(threads, *blocks, path=path) == [status, answer, headers]


@pytest.mark.parametrize(
    "odd",
    [
        {"method": "GET"},
        {"path": "/filter/"},
        {"path": "/healthz"},
        {"headers": [(b"origin", b"http://evil.example")]},
        {"headers": [(b"content-length", b"4"), (b"sec-fetch-site", b"cross-site")]},
    ],
)
def test_anything_else_is_the_frameworks(threads: ThreadPoolExecutor, odd: dict[str, Any]) -> None:
    """Other paths and methods, and what comes from a browser."""
    assert ask(threads, b"good", **odd)[:2] == [418, b"framework"]


@pytest.mark.parametrize(
    ("blocks", "headers"),
    [((b"",), [(b"content-length", b"11")]), ((b"12345678901",), []), ((b"123456", b"78901"), [])],
)
def test_a_body_beyond_the_limit_is_413(
    threads: ThreadPoolExecutor, blocks: tuple[bytes, ...], headers: list[tuple[bytes, bytes]]
) -> None:
    """By its announced length or by what comes; the connection is not kept, for the rest of it would follow."""
    status, body, answered = ask(threads, *blocks, headers=headers)
    assert (status, body) == (413, b'{"Error":"gpupack: body is too large, expected at most 10 bytes"}')
    assert (b"connection", b"close") in answered


def test_half_a_call_is_not_decided(threads: ThreadPoolExecutor) -> None:
    """The client has hung up: there is nobody to answer, and half a body means nothing."""
    assert ask(threads, b"goo", gone=True) == []
