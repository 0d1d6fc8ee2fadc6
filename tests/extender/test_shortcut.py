"""The shortcut answers what it knows and leaves the rest to the framework."""

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pytest

from extender.shortcut import Shortcut

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def _framework(_environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    start_response("418 I'm a Teapot", [])
    return [b"framework"]


def _ask(**environ: Any) -> tuple[str, bytes, list[tuple[str, str]]]:
    """Status, body and headers of one call."""
    app = Shortcut(_framework, {"/filter": lambda body: (400 if body == b"bad" else 200, body)}, max_body_bytes=10)
    seen: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], _error: Any = None) -> Any:
        seen.extend((status, headers))

    body = b"".join(app({"REQUEST_METHOD": "POST", "PATH_INFO": "/filter", **environ}, start_response))
    return seen[0], body, seen[1]


@pytest.mark.parametrize(("body", "status"), [(b"good", "200 OK"), (b"bad", "400 Bad Request"), (b"", "200 OK")])
def test_known_calls_are_answered(body: bytes, status: str) -> None:
    """With a length: kube-scheduler keeps no connection without."""
    answer = _ask(**{"CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body + b"next request")})
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    assert answer == (status, body, headers)


@pytest.mark.parametrize(
    "odd",
    [
        {"REQUEST_METHOD": "GET"},
        {"PATH_INFO": "/filter/"},
        {"PATH_INFO": "/healthz"},
        {"CONTENT_LENGTH": ""},
        {"CONTENT_LENGTH": "-1"},
        {"CONTENT_LENGTH": "eleven"},
        {"CONTENT_LENGTH": "11"},
    ],
)
def test_anything_else_is_the_frameworks(odd: dict[str, str]) -> None:
    """Other paths, methods and bodies, chunked ones included."""
    assert _ask(**{"CONTENT_LENGTH": "4", "wsgi.input": io.BytesIO(b"good"), **odd})[1] == b"framework"
