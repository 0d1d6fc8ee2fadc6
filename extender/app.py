"""The HTTP surface: from kube-scheduler's and people's requests to calls of the state and back.

filter, prioritize, preempt and bind answer 200 with `Error` set when something is wrong: kube-scheduler drops the body
of any other status. Only a request that cannot be read gets another.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from flask import Flask, Response, request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from extender.binder import Binder
from extender.decoding import DecodeError, Decoder
from extender.explaining import explain
from extender.metrics import Metrics
from extender.outcomes import Leaving, Passed, Rejected
from extender.page.presenting import Presenter
from extender.page.views import page_blueprint
from extender.scheduling.describing import describe_nodes
from extender.shortcut import BROWSERS_SEND, Answered, Shortcut
from extender.state import State
from extender.wire import (
    decode_binding_args,
    decode_extender_args,
    decode_preemption_args,
    encode_bind_answer,
    encode_feasible,
    encode_filter_error,
    encode_infeasible,
    encode_scores,
    encode_victims,
)

_LOG = logging.getLogger(__name__)
_JSON = "application/json"
EXPLAINED_NODES = 50
LEAVING_S = 0.3
"""How long filter waits for evicted pods to be seen gone; all scheduling waits with it."""

LEAVING_PAUSE_S = 0.005


@dataclass(frozen=True, slots=True)
class Health:
    """Why the extender is not alive or not ready; None when it is."""

    dead: Callable[[], str | None]
    not_ready: Callable[[], str | None]


@dataclass(frozen=True, slots=True)
class Parts:
    """What the app answers from."""

    state: State
    binder: Binder
    decoder: Decoder
    metrics: Metrics
    health: Health
    max_body_bytes: int


Verb = Callable[[bytes], tuple[bytes, str]]
"""From a call's body to the answer's bytes and the outcome for the metrics; raises DecodeError."""


def create_app(parts: Parts) -> Flask:
    """The whole surface, for the address that kube-scheduler calls."""
    app = create_observer_app(parts)
    app.config["MAX_CONTENT_LENGTH"] = parts.max_body_bytes
    app.register_blueprint(page_blueprint(Presenter(parts.state, parts.health.not_ready)))
    app.before_request(_refuse_browsers)
    verbs = _Verbs(parts)
    calls: dict[str, Answered] = {}
    for name, verb in (
        ("filter", verbs.filter),
        ("prioritize", verbs.prioritize),
        ("preempt", verbs.preempt),
        ("bind", verbs.bind),
    ):
        calls[f"/{name}"] = answered = _measured(name, verb, parts.metrics)
        app.add_url_rule(f"/{name}", name, _view(answered), methods=["POST"])
    app.wsgi_app = Shortcut(app.wsgi_app, calls, max_body_bytes=parts.max_body_bytes)  # type: ignore[method-assign]

    @app.get("/v1/nodes")
    def nodes() -> Response:
        return _json(describe_nodes(parts.state.snapshot(), unit_mib=parts.state.unit_mib))

    @app.get("/v1/explain/<namespace>/<pod>")
    def explain_pod(namespace: str, pod: str) -> Response:
        limit = request.args.get("limit", EXPLAINED_NODES, type=int)
        answer = explain(parts.state, namespace, pod, limit=max(0, limit))
        if answer is None:
            return _json({"error": f"no pod {namespace}/{pod} that asks for GPUs is known"}, status=404)
        return _json(answer)

    return app


def _refuse_browsers() -> Response | None:
    """Whoever looks at the page through a tunnel must not bind pods by opening another page beside it."""
    if request.method == "GET" or BROWSERS_SEND.isdisjoint(request.environ):
        return None
    return _json({"Error": "gpupack: calls from a browser are refused"}, status=403)


def create_observer_app(parts: Parts) -> Flask:
    """Health and metrics only, for probes and Prometheus: safe to reach from elsewhere."""
    app = Flask("gpupack", static_folder=None)

    @app.get("/healthz")
    def healthz() -> Response:
        return _health(parts.health.dead())

    @app.get("/readyz")
    def readyz() -> Response:
        return _health(parts.health.not_ready())

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(parts.metrics.registry), content_type=CONTENT_TYPE_LATEST)

    @app.errorhandler(413)
    def too_large(_error: object) -> Response:
        return _json({"error": f"body is too large, expected at most {parts.max_body_bytes} bytes"}, status=413)

    return app


class _Verbs:
    """One method per verb: bytes in, bytes and outcome out."""

    def __init__(self, parts: Parts) -> None:
        self._state = parts.state
        self._binder = parts.binder
        self._decoder = parts.decoder

    def filter(self, body: bytes) -> tuple[bytes, str]:
        args = decode_extender_args(body)
        pod, names = self._decoder.pod_record(args.pod), args.names()
        outcome = self._state.filter(pod, names)
        until_s = time.monotonic() + LEAVING_S
        while isinstance(outcome, Leaving) and time.monotonic() < until_s:
            # Some milliseconds of watch delay, spared kube-scheduler another round of evictions.
            time.sleep(LEAVING_PAUSE_S)
            outcome = self._state.filter(pod, names)
        if isinstance(outcome, Passed):
            return encode_feasible(args, outcome.names), "ok"
        if isinstance(outcome, Rejected):
            return encode_infeasible(args, outcome.reasons), "rejected"
        return encode_filter_error(f"gpupack: {outcome.message}"), "unavailable"

    def prioritize(self, body: bytes) -> tuple[bytes, str]:
        args = decode_extender_args(body)
        return encode_scores(self._state.prioritize(self._decoder.pod_record(args.pod), args.names())), "ok"

    def preempt(self, body: bytes) -> tuple[bytes, str]:
        args = decode_preemption_args(body)
        answers = self._state.preempt(self._decoder.pod_record(args.pod), args.candidates())
        return encode_victims(answers), "ok" if answers else "rejected"

    def bind(self, body: bytes) -> tuple[bytes, str]:
        problem = self._binder.bind(decode_binding_args(body))
        return encode_bind_answer(f"gpupack: {problem}" if problem else ""), "error" if problem else "ok"


def _measured(name: str, verb: Verb, metrics: Metrics) -> Answered:
    seconds = metrics.request_seconds.labels(name)
    outcomes = {
        outcome: metrics.outcomes.labels(name, outcome)
        for outcome in ("ok", "rejected", "unavailable", "error", "malformed")
    }

    def answer(call: bytes) -> tuple[int, bytes]:
        started_s = time.perf_counter()
        status = 200
        try:
            body, outcome = verb(call)
        except DecodeError as error:
            _LOG.warning("%s: call can't be read: %s", name, error)
            body, outcome, status = msgspec.json.encode({"Error": f"gpupack: {error}"}), "malformed", 400
        except Exception:  # noqa: BLE001 (kube-scheduler is to hear of it in the form that it reads)
            _LOG.exception("%s: call failed", name)
            body, outcome = msgspec.json.encode({"Error": "gpupack: internal error, see its log"}), "error"
        seconds.observe(time.perf_counter() - started_s)
        outcomes[outcome].inc()
        return status, body

    return answer


def _view(answered: Answered) -> Callable[[], Response]:
    def view() -> Response:
        status, body = answered(request.get_data(cache=False))
        return Response(body, status=status, content_type=_JSON)

    return view


def _health(problem: str | None) -> Response:
    text, status = ("ok\n", 200) if problem is None else (f"{problem}\n", 503)
    return Response(text, status=status, content_type="text/plain; charset=utf-8")


def _json(body: object, *, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status=status, content_type=_JSON)
