"""Binds a pod: writes one Binding, once, and answers with what has become of it.

The GPUs are charged before the write and stay charged until it is certain that the pod is not bound. A lost answer is
settled by reading the pod; what cannot be settled now is settled in the background or by the watch.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from extender.contract.allocation import Allocation
from extender.contract.names import Names
from extender.decoding.decoder import Decoder
from extender.kube.client import pod_path
from extender.kube.errors import ApiError, ApiUnreachable
from extender.kube.objects import DecodeError
from extender.scheduling.ledger.events import PodChanged, PodDeleted, PodRecord
from extender.scheduling.ledger.ledger import Reservation
from extender.server.state.outcomes import AlreadyBound, Assumed, Refused, UnknownPod
from extender.server.state.state import State
from extender.server.wire import BindingArgs

_LOG = logging.getLogger(__name__)

WRITE_TIMEOUT_S = 2.0
"""With the reads after a lost answer below kube-scheduler's default of 5 s, so that it hears of the outcome."""

READ_TIMEOUT_S = 0.7

LATE_WRITE_S = 2.0
"""After a lost answer the API server may still carry the write out; until then an unbound pod proves nothing."""

_READ_PAUSES_S = (0.05, 0.2, 0.5)


class BindingApi(Protocol):
    """What binding needs of the API server; see `extender.kube.client.KubeApi`."""

    def read(self, path: str, timeout_s: float = ...) -> bytes:
        """Read a pod."""
        ...

    def bind_pod(  # noqa: PLR0917 (the parts of one Binding, in the order of the API)
        self, namespace: str, name: str, uid: str, node: str, annotations: Mapping[str, str], timeout_s: float = ...
    ) -> None:
        """Write a Binding."""
        ...


@dataclass(frozen=True, slots=True)
class _Settled:
    """What a live read showed: the node that the pod is on, empty when unbound, None when it is gone."""

    node: str | None
    has_gpus: bool = False
    asks_nothing: bool = False


class Binder:
    """Answers bind calls; used from many threads at once, holding no lock while it waits for the API server."""

    def __init__(
        self,
        state: State,
        api: BindingApi,
        names: Names,
        decoder: Decoder,
        *,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        """`pause` waits for seconds; a test may pass its own."""
        self._state = state
        self._api = api
        self._names = names
        self._decoder = decoder
        self._pause = pause or threading.Event().wait

    def bind(self, args: BindingArgs) -> str:
        """Bind the pod; an empty text says that it is bound to that node with GPUs, another why it is not."""
        start = self._state.begin_bind(args.pod_uid, args.node)
        if isinstance(start, UnknownPod):
            settled = self._introduce(args)
            if isinstance(settled, str):
                return self._failed(args, settled)
            if settled.asks_nothing and not settled.node:
                return self._write_plain(args)
            start = self._state.begin_bind(args.pod_uid, args.node)
        if isinstance(start, AlreadyBound):
            if start.node == args.node and start.has_gpus:
                return ""
            return self._failed(args, f"pod is bound to {start.node} already")
        if isinstance(start, Refused):
            return self._failed(args, start.message)
        if isinstance(start, Assumed):
            return self._write(args, start)
        return self._failed(args, "pod is not known to the API server")

    def _write(self, args: BindingArgs, start: Assumed) -> str:
        policy = (start.pod.request.policy if start.pod.request else "") or self._state.policy.name
        try:
            self._api.bind_pod(
                args.pod_namespace,
                args.pod_name,
                args.pod_uid,
                args.node,
                self._annotations(start, policy),
                timeout_s=WRITE_TIMEOUT_S,
            )
        except (ApiError, ApiUnreachable) as error:
            # An answer that refuses says that nothing was written; a server's own trouble does not say so.
            refused = isinstance(error, ApiError) and 400 <= error.status < 500 and error.status != 408
            certain = refused or (isinstance(error, ApiUnreachable) and not error.sent)
            problem = self._after_failure(args, f"API server: {error}", certain=certain)
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

    def _after_failure(self, args: BindingArgs, problem: str, *, certain: bool) -> str:
        """Find out whether the Binding was written after all; empty when it was, else why it was not.

        `certain`: it was not, unless by an earlier call.
        """
        settled = self._read_back(args)
        if settled is not None and settled.node == args.node and settled.has_gpus:
            return ""
        if settled is not None and settled.node is None:
            return "pod is gone"
        if settled is not None and settled.node:
            return f"pod is bound to {settled.node} already"
        if not certain:
            return f"{problem}; the bind is being settled"
        self._state.forget(args.pod_uid)
        return problem

    def settle(self, reservation: Reservation, age_s: float) -> None:
        """Find out what became of an assumption that nothing has confirmed for `age_s`; keep it when in doubt."""
        holder = reservation.holder
        try:
            settled = self._read(holder.namespace, holder.name, holder.uid)
        except (ApiError, ApiUnreachable, DecodeError) as error:
            _LOG.warning("bind of %s/%s is not settled: %s", holder.namespace, holder.name, error)
            return
        if settled.node == "" and age_s >= LATE_WRITE_S + WRITE_TIMEOUT_S:
            _LOG.info(
                "bind of %s/%s was lost: its GPUs on %s are free", holder.namespace, holder.name, reservation.node
            )
            self._state.forget(holder.uid)

    def _write_plain(self, args: BindingArgs) -> str:
        """Bind a pod that names our resource with quantity 0: kube-scheduler leaves it to us."""
        try:
            self._api.bind_pod(
                args.pod_namespace, args.pod_name, args.pod_uid, args.node, {}, timeout_s=WRITE_TIMEOUT_S
            )
        except (ApiError, ApiUnreachable) as error:
            settled = self._read_back(args)
            if settled is None or settled.node != args.node:
                return self._failed(args, f"API server: {error}")
        return ""

    def _introduce(self, args: BindingArgs) -> _Settled | str:
        try:
            settled = self._read(args.pod_namespace, args.pod_name, args.pod_uid)
        except (ApiError, ApiUnreachable, DecodeError) as error:
            return f"pod can't be read: {error}"
        return "pod is gone" if settled.node is None else settled

    def _read_back(self, args: BindingArgs) -> _Settled | None:
        for pause_s in _READ_PAUSES_S:
            try:
                return self._read(args.pod_namespace, args.pod_name, args.pod_uid)
            except (ApiError, ApiUnreachable, DecodeError):
                self._pause(pause_s)
        return None

    def _read(self, namespace: str, name: str, uid: str) -> _Settled:
        """Read the pod from the API server's newest state and tell the ledger of it.

        Raises:
            ApiError: another answer than the pod or "not found".
            ApiUnreachable: no answer.
            DecodeError: not a Pod.
        """
        try:
            record = self._decoder.pod(self._api.read(pod_path(namespace, name), timeout_s=READ_TIMEOUT_S))
        except ApiError as error:
            if error.status != 404:
                raise
            record = None
        if record is None or record.uid != uid:
            self._state.apply(PodDeleted(uid))
            return _Settled(None)
        self._state.apply(PodChanged(record))
        return _settled(record)

    def _failed(self, args: BindingArgs, message: str) -> str:
        pod = PodRecord(args.pod_uid, args.pod_namespace, args.pod_name)
        self._state.decisions.not_bound(pod, args.node, message)
        return message


def _settled(record: PodRecord) -> _Settled:
    asks_nothing = record.request is None and not record.request_error
    return _Settled(record.node, record.footprint is not None, asks_nothing)
