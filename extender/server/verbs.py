"""Answers kube-scheduler's filter, prioritize, preempt and bind calls: bytes in, bytes and an outcome out.

Every verb answers 200 with `Error` set when something is wrong: kube-scheduler drops the body of any other status. Only
a call that can't be read gets 400.
"""

import logging
import time
from collections.abc import Callable
from typing import overload

import msgspec

from extender.decoding.decoder import Decoder
from extender.kube.objects import DecodeError
from extender.server.binder import Binder
from extender.server.http.call import Answer, Call
from extender.server.metrics import Metrics
from extender.server.state.outcomes import Passed, Rejected, Unavailable, VictimsTerminating
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

VICTIMS_WAIT_S = 0.3
"""How long filter waits for evicted pods to be seen gone; all scheduling waits with it."""

VICTIMS_PAUSE_S = 0.005

Result = tuple[bytes, str]
"""An answer's JSON, and its outcome for the metrics: ok, rejected, unavailable or error."""


class Verbs:
    """One method per verb; each raises DecodeError for a call that can't be read."""

    def __init__(self, state: State, binder: Binder, decoder: Decoder) -> None:
        self._state = state
        self._binder = binder
        self._record = CalledPods(decoder).record
        self._answered: ExtenderArgs | None = None

    def filter(self, body: bytes) -> Result:
        """Answer filter; waits for a moment while victims of the pod still hold their memory."""
        args = decode_extender_args(body)
        pod, names = self._record(args.pod), args.names()
        outcome = self._state.filter(pod, names)
        until_s = time.monotonic() + VICTIMS_WAIT_S
        while isinstance(outcome, VictimsTerminating) and time.monotonic() < until_s:
            # Mostly it is the watch that is some milliseconds behind.
            time.sleep(VICTIMS_PAUSE_S)
            outcome = self._state.filter(pod, names)
        if isinstance(outcome, VictimsTerminating):
            outcome = self._state.refuse(pod, outcome)
        return _filter_result(args, outcome)

    def filter_at_once(self, body: bytes) -> Result | None:
        """Answer filter without waiting; None while victims of the pod still hold their memory."""
        self._answered = args = decode_extender_args(body)
        outcome = self._state.filter(self._record(args.pod), args.names())
        return None if isinstance(outcome, VictimsTerminating) else _filter_result(args, outcome)

    def release(self) -> None:
        """Free the names of the latest filter call, which takes 0.1 ms for 5,000: nobody should wait for that."""
        self._answered = None

    def prioritize(self, body: bytes) -> Result:
        """Answer prioritize."""
        args = decode_extender_args(body)
        return encode_scores(self._state.prioritize(self._record(args.pod), args.names())), "ok"

    def preempt(self, body: bytes) -> Result:
        """Answer preempt."""
        args = decode_preemption_args(body)
        answers = self._state.preempt(self._record(args.pod), args.candidates())
        return encode_victims(answers), "ok" if answers else "rejected"

    def bind(self, body: bytes) -> Result:
        """Answer bind; waits for the API server."""
        problem = self._binder.bind(decode_binding_args(body))
        return encode_bind_answer(f"gpupack: {problem}" if problem else ""), "error" if problem else "ok"


def create_calls(verbs: Verbs, metrics: Metrics) -> dict[str, Call]:
    """The four verbs by path; what needs neither the API server nor another pod's end is answered at once."""
    prioritize = _measured("prioritize", verbs.prioritize, metrics)
    return {
        "/filter": Call(
            _measured("filter", verbs.filter, metrics),
            at_once=_measured("filter", verbs.filter_at_once, metrics),
            afterwards=verbs.release,
            alone=True,
        ),
        "/prioritize": Call(prioritize, at_once=prioritize),
        "/preempt": Call(_measured("preempt", verbs.preempt, metrics), alone=True),
        "/bind": Call(_measured("bind", verbs.bind, metrics)),
    }


def _filter_result(args: ExtenderArgs, outcome: Passed | Rejected | Unavailable) -> Result:
    if isinstance(outcome, Passed):
        return encode_feasible(args, outcome.names), "ok"
    if isinstance(outcome, Rejected):
        return encode_infeasible(args, outcome.reasons, outcome.leaving), "rejected"
    return encode_filter_error(f"gpupack: {outcome.message}"), "unavailable"


@overload
def _measured(name: str, verb: Callable[[bytes], Result], metrics: Metrics) -> Callable[[bytes], Answer]: ...
@overload
def _measured(
    name: str, verb: Callable[[bytes], Result | None], metrics: Metrics
) -> Callable[[bytes], Answer | None]: ...
def _measured(name: str, verb: Callable[[bytes], Result | None], metrics: Metrics) -> Callable[[bytes], Answer | None]:
    """Count and time the calls of a verb, and give failures the form that kube-scheduler reads."""
    seconds = metrics.request_seconds.labels(name)
    outcomes = {
        outcome: metrics.outcomes.labels(name, outcome)
        for outcome in ("ok", "rejected", "unavailable", "error", "malformed")
    }

    def answer(call: bytes) -> Answer | None:
        started_s = time.perf_counter()
        status = 200
        try:
            result = verb(call)
        except DecodeError as error:
            _LOG.warning("%s: call can't be read: %s", name, error)
            status, result = 400, (msgspec.json.encode({"Error": f"gpupack: {error}"}), "malformed")
        except Exception:  # noqa: BLE001 (kube-scheduler has to get an answer)
            _LOG.exception("%s: call failed", name)
            result = msgspec.json.encode({"Error": "gpupack: internal error, see its log"}), "error"
        if result is None:
            return None
        body, outcome = result
        seconds.observe(time.perf_counter() - started_s)
        outcomes[outcome].inc()
        return status, body

    return answer
