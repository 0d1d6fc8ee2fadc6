"""The page's addresses: `/` and its sections, with the headers that keep a browser from doing anything else."""

from base64 import b64encode
from hashlib import sha256

from flask import Blueprint, Response, request

from extender.page.presenting import SECTIONS, TEMPLATES, Html, Presenter
from extender.page.query import QueryError, parse_query


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

    def answer(html: Html) -> Response:
        response = Response(html.body, content_type="text/html; charset=utf-8", headers=headers)
        response.set_etag(html.tag)
        response.make_conditional(request.environ)
        return response

    @blueprint.get("/")
    def page() -> Response:
        return answer(presenter.page(parse_query(request.args), style, script))

    @blueprint.get("/page/<name>")
    def section(name: str) -> Response:
        if name not in SECTIONS:
            expected = f"no section {name!r}, expected one of {', '.join(SECTIONS)}\n"
            return Response(expected, status=404, content_type="text/plain; charset=utf-8", headers=headers)
        return answer(presenter.section(name, parse_query(request.args)))

    @blueprint.errorhandler(QueryError)
    def senseless(error: QueryError) -> Response:
        return Response(f"{error}\n", status=400, content_type="text/plain; charset=utf-8", headers=headers)

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
