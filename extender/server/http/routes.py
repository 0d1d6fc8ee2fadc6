"""The HTTP surface: from kube-scheduler's and people's requests to calls of the state and back.

filter, prioritize, preempt and bind answer 200 with `Error` set when something is wrong: kube-scheduler drops the body
of any other status. Only a request that cannot be read gets another.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Protocol, overload

import msgspec
from flask import Flask, Response, request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from extender.decoding.decoder import Decoder
from extender.kube.errors import ApiError, ApiUnreachable
from extender.kube.objects import DecodeError
from extender.scheduling.fitting.describing import describe_nodes
from extender.server.binder import WRITE_TIMEOUT_S, Binder
from extender.server.explaining import explain
from extender.server.http.call import BROWSERS_SEND, Answer, Call
from extender.server.metrics import Metrics
from extender.server.page.presenting import Presenter
from extender.server.page.views import page_blueprint
from extender.server.state.outcomes import FilterOutcome, Leaving, Passed, Rejected
from extender.server.state.state import State
from extender.server.wire import (
    CalledPods,
    ExtenderArgs,
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


class LoopBindingApi(Protocol):
    """What writing a Binding in the event loop needs; see `extender.kube.loopapi.LoopApi`."""

    async def bind_pod(  # noqa: PLR0917 (the parts of one Binding, in the order of the API)
        self, namespace: str, name: str, uid: str, node: str, annotations: Mapping[str, str], timeout_s: float
    ) -> None:
        """Write a Binding."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What the app answers from; without `loop_api` Bindings are written by threads."""

    state: State
    binder: Binder
    decoder: Decoder
    metrics: Metrics
    health: Health
    max_body_bytes: int
    loop_api: LoopBindingApi | None = None


Said = tuple[bytes, str]
"""An answer's bytes and the outcome for the metrics."""


def create_calls(parts: Parts) -> dict[str, Call]:
    """Kube-scheduler's calls by path. What needs no API server and no other pod's end is answered at once."""
    verbs, metrics = _Verbs(parts), parts.metrics
    prioritize = _measured("prioritize", verbs.prioritize, metrics)
    soon = None
    if parts.loop_api is not None:
        soon = _measured_soon("bind", partial(verbs.bind_soon, parts.loop_api), metrics)
    return {
        "/filter": Call(
            _measured("filter", verbs.filter, metrics), at_once=_measured("filter", verbs.filter_at_once, metrics)
        ),
        "/prioritize": Call(prioritize, at_once=prioritize),
        "/preempt": Call(_measured("preempt", verbs.preempt, metrics)),
        "/bind": Call(_measured("bind", verbs.bind, metrics), soon=soon),
    }


def create_app(parts: Parts, calls: Mapping[str, Call] | None = None) -> Flask:
    """The whole surface, for the address that kube-scheduler calls; `calls` are made where they are not given."""
    app = create_observer_app(parts)
    app.config["MAX_CONTENT_LENGTH"] = parts.max_body_bytes
    app.register_blueprint(page_blueprint(Presenter(parts.state, parts.health.not_ready)))
    app.before_request(_refuse_browsers)
    for path, call in (calls if calls is not None else create_calls(parts)).items():
        app.add_url_rule(path, path.removeprefix("/"), _view(call.answer), methods=["POST"])

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
    if request.method == "GET" or not any(name.decode() in request.headers for name in BROWSERS_SEND):
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
    """One method per verb: bytes in, bytes and outcome out; each raises DecodeError for a call that can't be read."""

    def __init__(self, parts: Parts) -> None:
        self._state = parts.state
        self._binder = parts.binder
        self._record = CalledPods(parts.decoder).record

    def filter(self, body: bytes) -> Said:
        args = decode_extender_args(body)
        pod, names = self._record(args.pod), args.names()
        outcome = self._state.filter(pod, names)
        until_s = time.monotonic() + LEAVING_S
        while isinstance(outcome, Leaving) and time.monotonic() < until_s:
            # Some milliseconds of watch delay, spared kube-scheduler another round of evictions.
            time.sleep(LEAVING_PAUSE_S)
            outcome = self._state.filter(pod, names)
        return _said(args, outcome)

    def filter_at_once(self, body: bytes) -> Said | None:
        """None while pods that were evicted for this one are not seen gone."""
        args = decode_extender_args(body)
        outcome = self._state.filter(self._record(args.pod), args.names())
        return None if isinstance(outcome, Leaving) else _said(args, outcome)

    def prioritize(self, body: bytes) -> Said:
        args = decode_extender_args(body)
        return encode_scores(self._state.prioritize(self._record(args.pod), args.names())), "ok"

    def preempt(self, body: bytes) -> Said:
        args = decode_preemption_args(body)
        answers = self._state.preempt(self._record(args.pod), args.candidates())
        return encode_victims(answers), "ok" if answers else "rejected"

    def bind(self, body: bytes) -> Said:
        return _bound(self._binder.bind(decode_binding_args(body)))

    async def bind_soon(self, loop_api: LoopBindingApi, body: bytes, threads: Executor) -> Said:
        """Write the Binding in the event loop; what is not plain is a thread's."""
        args, loop = decode_binding_args(body), asyncio.get_running_loop()
        prepared = self._binder.begin(args)
        if prepared is None:
            return _bound(await loop.run_in_executor(threads, self._binder.bind, args))
        try:
            await loop_api.bind_pod(
                args.pod_namespace, args.pod_name, args.pod_uid, args.node, prepared.annotations, WRITE_TIMEOUT_S
            )
        except (ApiError, ApiUnreachable) as error:
            return _bound(await loop.run_in_executor(threads, self._binder.failed, args, prepared, error))
        self._binder.done(prepared)
        return _bound("")


def _bound(problem: str) -> Said:
    return encode_bind_answer(f"gpupack: {problem}" if problem else ""), "error" if problem else "ok"


def _said(args: ExtenderArgs, outcome: FilterOutcome) -> Said:
    if isinstance(outcome, Passed):
        return encode_feasible(args, outcome.names), "ok"
    if isinstance(outcome, Rejected):
        return encode_infeasible(args, outcome.reasons), "rejected"
    return encode_filter_error(f"gpupack: {outcome.message}"), "unavailable"


class _Measure:
    """Counts and times the calls of one verb, and gives failures the form that kube-scheduler reads."""

    def __init__(self, name: str, metrics: Metrics) -> None:
        self._name = name
        self._seconds = metrics.request_seconds.labels(name)
        self._outcomes = {
            outcome: metrics.outcomes.labels(name, outcome)
            for outcome in ("ok", "rejected", "unavailable", "error", "malformed")
        }

    def answered(self, said: Said, started_s: float) -> Answer:
        return self._counted(200, *said, started_s)

    def failed(self, error: Exception, started_s: float) -> Answer:
        """While the error is being handled: an unforeseen one is logged with its traceback."""
        if isinstance(error, DecodeError):
            _LOG.warning("%s: call can't be read: %s", self._name, error)
            return self._counted(400, msgspec.json.encode({"Error": f"gpupack: {error}"}), "malformed", started_s)
        _LOG.exception("%s: call failed", self._name)
        text = msgspec.json.encode({"Error": "gpupack: internal error, see its log"})
        return self._counted(200, text, "error", started_s)

    def _counted(self, status: int, body: bytes, outcome: str, started_s: float) -> Answer:
        self._seconds.observe(time.perf_counter() - started_s)
        self._outcomes[outcome].inc()
        return status, body


@overload
def _measured(name: str, verb: Callable[[bytes], Said], metrics: Metrics) -> Callable[[bytes], Answer]: ...
@overload
def _measured(
    name: str, verb: Callable[[bytes], Said | None], metrics: Metrics
) -> Callable[[bytes], Answer | None]: ...
def _measured(name: str, verb: Callable[[bytes], Said | None], metrics: Metrics) -> Callable[[bytes], Answer | None]:
    measure = _Measure(name, metrics)

    def answer(call: bytes) -> Answer | None:
        started_s = time.perf_counter()
        try:
            said = verb(call)
        except Exception as error:  # noqa: BLE001 (kube-scheduler is to hear of it)
            return measure.failed(error, started_s)
        return None if said is None else measure.answered(said, started_s)

    return answer


def _measured_soon(
    name: str, verb: Callable[[bytes, Executor], Awaitable[Said]], metrics: Metrics
) -> Callable[[bytes, Executor], Awaitable[Answer]]:
    measure = _Measure(name, metrics)

    async def answer(call: bytes, threads: Executor) -> Answer:
        started_s = time.perf_counter()
        try:
            said = await verb(call, threads)
        except Exception as error:  # noqa: BLE001 (kube-scheduler is to hear of it)
            return measure.failed(error, started_s)
        return measure.answered(said, started_s)

    return answer


def _view(answered: Callable[[bytes], Answer]) -> Callable[[], Response]:
    def view() -> Response:
        status, body = answered(request.get_data(cache=False))
        return Response(body, status=status, content_type=_JSON)

    return view


def _health(problem: str | None) -> Response:
    text, status = ("ok\n", 200) if problem is None else (f"{problem}\n", 503)
    return Response(text, status=status, content_type="text/plain; charset=utf-8")


def _json(body: object, *, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status=status, content_type=_JSON)
