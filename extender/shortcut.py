"""From kube-scheduler's calls to their answers past the web framework, whose routing costs as much as a decision.

Takes POSTs of known paths with a Content-Length within bounds; everything else, and everything odd, is the framework's
(a browser's requests, too: there they are refused).
"""

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Answered = Callable[[bytes], tuple[int, bytes]]
"""From a call's body to status and JSON; raises nothing."""

BROWSERS_SEND = frozenset({"HTTP_ORIGIN", "HTTP_SEC_FETCH_SITE"})
"""Headers that scripts of web pages can't leave out, and kube-scheduler never sends."""

_STATUS_LINES = {int(status): f"{int(status)} {status.phrase}" for status in HTTPStatus}


class Shortcut:
    """WSGI middleware in front of `app`: `calls` by path."""

    def __init__(self, app: "WSGIApplication", calls: Mapping[str, Answered], *, max_body_bytes: int) -> None:
        self._app = app
        self._calls = calls
        self._max_body_bytes = max_body_bytes

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer, or leave it to the framework."""
        call = self._calls.get(environ.get("PATH_INFO", ""))
        length = environ.get("CONTENT_LENGTH") or ""
        if call is None or environ["REQUEST_METHOD"] != "POST" or not (length.isascii() and length.isdigit()):
            return self._app(environ, start_response)
        if int(length) > self._max_body_bytes or not BROWSERS_SEND.isdisjoint(environ):
            return self._app(environ, start_response)
        status, answer = call(environ["wsgi.input"].read(int(length)))
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))]
        start_response(_STATUS_LINES[status], headers)
        return (answer,)
