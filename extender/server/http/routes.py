"""Defines what is served apart from kube-scheduler's verbs: health and metrics, and, by Flask, /v1 and the page."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from flask import Flask, Response, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from extender.scheduling.fitting.describing import describe_nodes
from extender.server.explaining import explain
from extender.server.http.call import JSON_TYPE, Answer, Call
from extender.server.page.presenting import Presenter
from extender.server.page.views import page_blueprint
from extender.server.state.state import State

EXPLAINED_NODES = 50
_TEXT_TYPE = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Health:
    """Why the extender is not alive or not ready; None when it is."""

    dead: Callable[[], str | None]
    not_ready: Callable[[], str | None]


def probe_calls(health: Health, registry: CollectorRegistry) -> dict[str, Call]:
    """Health and metrics by path: safe to reach from elsewhere. Probes never wait for a thread."""

    def probe(problem: Callable[[], str | None]) -> Call:
        def answer(_body: bytes) -> Answer:
            text = problem()
            return (200, b"ok\n") if text is None else (503, f"{text}\n".encode())

        return Call(answer, at_once=answer, method="GET", content_type=_TEXT_TYPE)

    def metrics(_body: bytes) -> Answer:
        return 200, generate_latest(registry)

    return {
        "/healthz": probe(health.dead),
        "/readyz": probe(health.not_ready),
        "/metrics": Call(metrics, alone=True, method="GET", content_type=CONTENT_TYPE_LATEST),
    }


def create_app(state: State, view_problem: Callable[[], str | None]) -> Flask:
    """What people and scripts look at; all of it GET.

    Args:
        state: the extender's state.
        view_problem: why the view of the cluster can't be trusted now, None when it can.
    """
    app = Flask("gpupack", static_folder=None)
    app.register_blueprint(page_blueprint(Presenter(state, view_problem)))

    @app.get("/v1/nodes")
    def nodes() -> Response:
        return _json(describe_nodes(state.snapshot(), unit_mib=state.unit_mib))

    @app.get("/v1/explain/<namespace>/<pod>")
    def explain_pod(namespace: str, pod: str) -> Response:
        limit = request.args.get("limit", EXPLAINED_NODES, type=int)
        answer = explain(state, namespace, pod, limit=max(0, limit))
        if answer is None:
            return _json({"error": f"no pod {namespace}/{pod} that asks for GPUs is known"}, status=404)
        return _json(answer)

    return app


def _json(body: object, *, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status=status, content_type=JSON_TYPE)
