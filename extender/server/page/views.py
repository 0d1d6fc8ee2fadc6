"""Serves the page at `/` and its sections, with headers that forbid a browser to load anything else."""

import threading
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256

from flask import Blueprint, Response, request

from extender.server.page.presenting import SECTIONS, TEMPLATES, Html, Presenter
from extender.server.page.query import QueryError, parse_query

_TEXT = "text/plain; charset=utf-8"
MAX_AT_ONCE = 8
"""Views that are rendered or wait for it; more would slow kube-scheduler's calls down."""


def page_blueprint(presenter: Presenter) -> Blueprint:
    """The page, to be registered at the root of an app."""
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    headers = {
        "Content-Security-Policy": _policy(style, script),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "private, no-cache",
    }
    blueprint = Blueprint("page", __name__)
    viewers = threading.BoundedSemaphore(MAX_AT_ONCE)

    def answer(render: Callable[[], Html]) -> Response:
        if not viewers.acquire(blocking=False):
            busy = {**headers, "Retry-After": "2"}
            return Response("too many people are viewing this page; try again\n", 503, busy, content_type=_TEXT)
        try:
            html = render()
        finally:
            viewers.release()
        response = Response(html.body, content_type="text/html; charset=utf-8", headers=headers)
        response.set_etag(html.tag)
        response.make_conditional(request.environ)
        return response

    @blueprint.get("/")
    def page() -> Response:
        query = parse_query(request.args)
        return answer(lambda: presenter.page(query, style, script))

    @blueprint.get("/page/<name>")
    def section(name: str) -> Response:
        if name not in SECTIONS:
            expected = f"no section {name!r}, expected one of {', '.join(SECTIONS)}\n"
            return Response(expected, status=404, content_type=_TEXT, headers=headers)
        query = parse_query(request.args)
        return answer(lambda: presenter.section(name, query))

    @blueprint.errorhandler(QueryError)
    def invalid_query(error: QueryError) -> Response:
        return Response(f"{error}\n", status=400, content_type=_TEXT, headers=headers)

    return blueprint


def _policy(style: str, script: str) -> str:
    """Only this very style and script, and fetches from the page's own address."""
    rules = (
        "default-src 'none'",
        f"style-src {_digest(style)}",
        f"script-src {_digest(script)}",
        "connect-src 'self'",
        "img-src data:",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
    return "; ".join(rules)


def _digest(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
