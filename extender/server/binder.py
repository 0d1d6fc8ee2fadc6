"""Binds a pod: writes one Binding and answers with what has become of it.

The GPUs are charged before the write and stay charged until it is certain that the pod is not bound and will not be.
What cannot be made certain within the call is settled in the background or by the watch.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol
from urllib.parse import quote

from extender.contract.allocation import Allocation
from extender.contract.names import Names
from extender.decoding.decoder import Decoder
from extender.kube.errors import ApiError, ApiUnreachable
from extender.kube.listing import EnvelopeError, ListSource, list_pages
from extender.kube.objects import DecodeError
from extender.scheduling.ledger.events import PodChanged, PodRecord
from extender.scheduling.ledger.reservation import Reservation
from extender.server.fence import BindingOutcome, Fate, Fence, FencingApi, WantedBinding
from extender.server.state.outcomes import AlreadyBound, Assumed, BindStart, NeedsLook, Refused, UnknownPod
from extender.server.state.state import State
from extender.server.wire import BindingArgs

_LOG = logging.getLogger(__name__)

CALL_S = 4.0
"""For one call, below kube-scheduler's default of 5 s, so that it hears of the outcome."""

LOOK_TIMEOUT_S = 2.0
"""API servers before 1.31 search all pods of the storage for those of a node. A try that comes too late is followed by
another one of kube-scheduler's, with a fresh hold."""

PODS_PATH = "/api/v1/pods"


class BindingApi(FencingApi, ListSource, Protocol):
    """What binding needs of the API server; see `extender.kube.client.KubeApi`."""


class Binder:
    """Answers bind calls; used from many threads at once, holding no lock while it waits for the API server."""

    def __init__(
        self,
        state: State,
        api: BindingApi,
        names: Names,
        decoder: Decoder,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        """`clock` is monotonic seconds, `pause` waits for seconds; a test may pass its own."""
        self._state = state
        self._api = api
        self._names = names
        self._decoder = decoder
        self._clock = clock
        self._fence = Fence(
            api,
            decoder,
            names.retry_annotation,
            show=lambda record: state.apply(PodChanged(record)),
            clock=clock,
            stamp=state.decisions.now,
            pause=pause or threading.Event().wait,
        )
        self._busy: set[str] = set()
        self._lock = threading.Lock()

    def bind(self, args: BindingArgs) -> str:
        """Bind the pod; an empty text says that it is bound to that node with GPUs, another why it is not."""
        until_s = self._clock() + CALL_S
        with self._alone(args.pod_uid) as alone:
            if not alone:
                return self._failed(args, "another bind of the pod is under way")
            held = self._state.reservation(args.pod_uid)
            problem = self._bind_alone(args, until_s)
            if problem and held is not None:
                self._state.end_hold(held)
            return problem

    def _bind_alone(self, args: BindingArgs, until_s: float) -> str:
        start = self._state.begin_bind(args.pod_uid, args.node, looked=False)
        if isinstance(start, UnknownPod):
            record = self._introduce(args)
            if isinstance(record, str):
                return self._failed(args, record)
            if record.request is None and not record.request_error and not record.node:
                return self._write_plain(args, record, until_s)
            start = self._state.begin_bind(args.pod_uid, args.node, looked=False)
        if isinstance(start, NeedsLook):
            problem = self._look_at(start.node)
            if problem:
                return self._failed(args, problem)
            start = self._state.begin_bind(args.pod_uid, args.node, looked=True)
        return self._carry_out(args, start, until_s)

    def _carry_out(self, args: BindingArgs, start: BindStart, until_s: float) -> str:
        if isinstance(start, Assumed):
            return self._write(args, start, until_s)
        if isinstance(start, AlreadyBound):
            if start.node == args.node and start.has_gpus:
                return ""
            return self._failed(args, f"pod is bound to {start.node} already")
        return self._failed(args, start.message if isinstance(start, Refused) else "pod is gone")

    def _write(self, args: BindingArgs, start: Assumed, until_s: float) -> str:
        policy = (start.pod.request.policy if start.pod.request else "") or self._state.policy.name
        annotations = self._annotations(start, policy)
        wanted = WantedBinding(args.pod_namespace, args.pod_name, args.pod_uid, args.node, annotations)
        outcome = self._fence.write(wanted, start.pod.resource_version, until_s)
        if outcome.fate is Fate.OPEN:
            return self._failed(args, f"{outcome.problem}; the bind is being settled")
        if outcome.fate in {Fate.VOID, Fate.GONE}:
            self._state.forget(args.pod_uid)
        problem = _problem(outcome)
        if problem:
            return self._failed(args, problem)
        self._state.decisions.bound(start.pod, policy, start.plan)
        return ""

    def _annotations(self, start: Assumed, policy: str) -> dict[str, str]:
        chosen = start.plan.allocation
        allocation = Allocation(chosen.unit_mib, chosen.containers, policy, self._state.decisions.now())
        annotations = {self._names.allocation_annotation: allocation.to_json()}
        if start.pod.claims_allocated:
            # What a tenant wrote there would be believed once the pod is bound; a Binding can empty it, not remove it.
            annotations[self._names.allocated_annotation] = ""
        return annotations

    def _write_plain(self, args: BindingArgs, record: PodRecord, until_s: float) -> str:
        """Bind a pod that names our resource with quantity 0: kube-scheduler leaves it to us."""
        wanted = WantedBinding(args.pod_namespace, args.pod_name, args.pod_uid, args.node, {}, gpus=False)
        problem = _problem(self._fence.write(wanted, record.resource_version, until_s))
        return self._failed(args, problem) if problem else ""

    def settle(self, reservation: Reservation) -> bool:
        """Make certain what became of an assumption that nothing has confirmed; whether the API server has told."""
        holder = reservation.holder
        with self._alone(holder.uid) as alone:
            if not alone:
                return True  # its bind call is still under way
            outcome = self._fence.settle(holder.namespace, holder.name, holder.uid)
            if outcome.fate is Fate.OPEN:
                _LOG.warning("bind of %s/%s is not settled: %s", holder.namespace, holder.name, outcome.problem)
                return False
            if outcome.fate in {Fate.VOID, Fate.GONE}:
                text = "bind of %s/%s was lost: its GPUs on %s are free"
                _LOG.info(text, holder.namespace, holder.name, reservation.node)
                self._state.forget(holder.uid)
            return True

    def is_gone(self, namespace: str, name: str, uid: str) -> bool:
        """Whether a live read proves that there is no such pod any more.

        Raises:
            ApiError: another answer.
            ApiUnreachable: no answer.
        """
        try:
            return self._fence.read(namespace, name, uid) is None
        except DecodeError:
            return False

    def _introduce(self, args: BindingArgs) -> PodRecord | str:
        try:
            record = self._fence.read(args.pod_namespace, args.pod_name, args.pod_uid)
        except (ApiError, ApiUnreachable, DecodeError) as error:
            return f"pod can't be read: {error}"
        return record or "pod is gone"

    def _look_at(self, node: str) -> str:
        """Tell the ledger of every pod that is bound to the node; why that can't be done, empty when it is."""
        path = f"{PODS_PATH}?fieldSelector={quote(f'spec.nodeName={node}')}"
        try:
            for page in list_pages(self._api, path, LOOK_TIMEOUT_S):
                for raw in page.items:
                    self._show(raw)
        except (ApiError, ApiUnreachable, EnvelopeError) as error:
            return f"pods of the node can't be read: {error}"
        return ""

    def _show(self, raw: bytes) -> None:
        try:
            self._state.apply(PodChanged(self._decoder.pod(raw)))
        except DecodeError as error:
            _LOG.debug("a pod of the node is left out, as in the watch: %s", error)

    @contextmanager
    def _alone(self, uid: str) -> Iterator[bool]:
        """Keep other threads from binding or settling the pod; false when one does already."""
        with self._lock:
            alone = uid not in self._busy
            self._busy.add(uid)
        try:
            yield alone
        finally:
            if alone:
                with self._lock:
                    self._busy.discard(uid)

    def _failed(self, args: BindingArgs, message: str) -> str:
        pod = PodRecord(args.pod_uid, args.pod_namespace, args.pod_name)
        self._state.decisions.not_bound(pod, args.node, message)
        return message


def _problem(outcome: BindingOutcome) -> str:
    """Why the pod is not bound as wanted; empty when it is."""
    match outcome.fate:
        case Fate.WRITTEN:
            return ""
        case Fate.ELSEWHERE:
            return f"pod is bound to {outcome.node} already"
        case Fate.GONE:
            return "pod is gone"
        case Fate.VOID | Fate.OPEN:
            return outcome.problem
