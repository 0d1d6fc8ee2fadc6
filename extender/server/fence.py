"""Writes Bindings so that the fate of each becomes certain: written, or never to be written.

A Binding without an answer may be carried out at any time later, by an API server that was paused or a proxy that kept
it. A pod that is read as unbound proves nothing against that. So a Binding carries the pod's UID and resource version,
which the API server takes as preconditions: from the moment when the pod has another version, the Binding is void. A
pod that still has the version is touched, which gives it another one; the answer is the pod, bound or not, and certain.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from extender.decoding.decoder import Decoder
from extender.kube.client import pod_path
from extender.kube.errors import ApiError, ApiUnreachable
from extender.kube.objects import DecodeError
from extender.scheduling.ledger.events import PodRecord

_LOG = logging.getLogger(__name__)

WRITE_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 0.7
LEAST_S = 0.4
"""A Binding that could not have this long is not begun."""

SETTLING_S = 2 * READ_TIMEOUT_S
"""Kept back for a read and a touch after a Binding without an answer."""

MOST_TRIES = 3
"""Bindings without an answer in one call; each costs a touch."""

MOST_CONFLICTS = 20
PAUSES_S = (0.0, 0.05, 0.2, 0.5)
MAX_REMEMBERED = 4_096

Failure = ApiError | ApiUnreachable


class FencingApi(Protocol):
    """What binding needs of the API server; see `extender.kube.client.KubeApi`."""

    def read(self, path: str, timeout_s: float = ...) -> bytes:
        """Read a pod."""
        ...

    def patch(self, path: str, body: Mapping[str, object], timeout_s: float = ...) -> bytes:
        """Apply a JSON merge patch."""
        ...

    def bind_pod(  # noqa: PLR0917 (the parts of one Binding, in the order of the API)
        self,
        namespace: str,
        name: str,
        uid: str,
        node: str,
        annotations: Mapping[str, str],
        timeout_s: float = ...,
        *,
        resource_version: int = ...,
    ) -> None:
        """Write a Binding."""
        ...


class Fate(Enum):
    """What became of a Binding."""

    WRITTEN = "the pod is bound as wanted"
    ELSEWHERE = "the pod is bound, otherwise"
    GONE = "there is no such pod"
    VOID = "it was not and will not be written"
    OPEN = "it may yet be written"


@dataclass(frozen=True, slots=True)
class BindingOutcome:
    """What became of a Binding, and why in words; `node` is where the pod is bound."""

    fate: Fate
    problem: str = ""
    node: str = ""


@dataclass(frozen=True, slots=True)
class WantedBinding:
    """A Binding: the pod, its node, and the annotations that go with it; `gpus` says that it is to hold some."""

    namespace: str
    name: str
    uid: str
    node: str
    annotations: Mapping[str, str]
    gpus: bool = True


class Fence:
    """Writes Bindings and settles them; used from many threads, by one at a time for each pod.

    Args:
        api: the API server.
        decoder: reads pods.
        retry_annotation: changed to touch a pod; kube-scheduler takes up the pod again when it changes.
        show: is told of each pod that was read.
        clock: monotonic seconds.
        stamp: the time in words.
        pause: waits for seconds.
    """

    def __init__(
        self,
        api: FencingApi,
        decoder: Decoder,
        retry_annotation: str,
        *,
        show: Callable[[PodRecord], None],
        clock: Callable[[], float],
        stamp: Callable[[], str],
        pause: Callable[[float], object],
    ) -> None:
        self._api = api
        self._decoder = decoder
        self._annotation = retry_annotation
        self._show = show
        self._clock = clock
        self._stamp = stamp
        self._pause = pause
        self._open: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    def write(self, wanted: WantedBinding, version: int, until_s: float) -> BindingOutcome:
        """Bind the pod, which has this version as far as is known, by `until_s` on the clock, within some 0.1 s.

        Tried again while there is time: with the pod's newer version when somebody else has written to it, after the
        pause that an API server asks for, and after an answer that says nothing, once that Binding is void.
        """
        conflicts = unanswered = times = 0
        while True:
            left_s = until_s - self._clock() - SETTLING_S
            error = self._bind(wanted, version, max(LEAST_S, min(WRITE_TIMEOUT_S, left_s)))
            if error is None:
                return BindingOutcome(Fate.WRITTEN, node=wanted.node)
            after = self._after(wanted, version, error, until_s)
            if isinstance(after, BindingOutcome):
                return after
            times += 1
            conflicts += _is_conflict(error)
            unanswered += not _is_certain(error)
            pause_s = _pause_s(error, times)
            late = self._clock() + pause_s + LEAST_S + SETTLING_S > until_s
            if late or unanswered >= MOST_TRIES or conflicts >= MOST_CONFLICTS:
                problem = "the pod is written to all the time" if _is_conflict(error) else _told(error)
                return BindingOutcome(Fate.VOID, problem)
            if pause_s:
                self._pause(pause_s)
            version = after

    def settle(self, namespace: str, name: str, uid: str) -> BindingOutcome:
        """Make the fate of this pod's last Binding certain, if the API server answers."""
        with self._lock:
            version = self._open.get(uid)
        try:
            found = self._certain(namespace, name, uid, version)
        except (ApiError, ApiUnreachable, DecodeError) as error:
            return BindingOutcome(Fate.OPEN, _told(error))
        self._close(uid)
        if found is None:
            return BindingOutcome(Fate.GONE)
        return BindingOutcome(Fate.ELSEWHERE, node=found.node) if found.node else BindingOutcome(Fate.VOID)

    def read(self, namespace: str, name: str, uid: str) -> PodRecord | None:
        """The pod in the API server's newest state, which is shown; None when there is proof that it is gone.

        Raises:
            ApiError: another answer.
            ApiUnreachable: no answer.
            DecodeError: the answer is not this pod.
        """
        path = pod_path(namespace, name)
        try:
            return self._shown(namespace, name, uid, self._api.read(path, timeout_s=READ_TIMEOUT_S))
        except ApiError as error:
            if error.says_gone("pods", name):
                return None
            raise

    def _bind(self, wanted: WantedBinding, version: int, timeout_s: float) -> Failure | None:
        try:
            self._api.bind_pod(
                wanted.namespace,
                wanted.name,
                wanted.uid,
                wanted.node,
                wanted.annotations,
                timeout_s,
                resource_version=version,
            )
        except (ApiError, ApiUnreachable) as error:
            _LOG.info("binding of %s/%s at version %d: %s", wanted.namespace, wanted.name, version, error)
            return error
        return None

    def _after(self, wanted: WantedBinding, version: int, error: Failure, until_s: float) -> BindingOutcome | int:
        """What became of a Binding that failed, or the version to try again with when it is void and may be."""
        if _was_not_taken(error):
            return version
        if not _is_certain(error):
            with self._lock:
                self._open[wanted.uid] = version
                if len(self._open) > MAX_REMEMBERED:
                    self._open.popitem(last=False)
        try:
            found = self._found(wanted, version, until_s, read_only=_is_certain(error))
        except (ApiError, ApiUnreachable, DecodeError):
            # A conflict may be with an earlier Binding; another refusal is final.
            final = _is_certain(error) and isinstance(error, ApiError) and error.status not in {404, 409}
            return BindingOutcome(Fate.VOID if final else Fate.OPEN, _told(error))
        self._close(wanted.uid)
        if found is None:
            return BindingOutcome(Fate.GONE)
        if found.node:
            as_wanted = found.node == wanted.node and (found.footprint is not None or not wanted.gpus)
            return BindingOutcome(Fate.WRITTEN if as_wanted else Fate.ELSEWHERE, node=found.node)
        if _is_certain(error) and (not _is_conflict(error) or found.resource_version == version):
            return BindingOutcome(Fate.VOID, _told(error))
        return found.resource_version

    def _found(self, wanted: WantedBinding, version: int, until_s: float, *, read_only: bool) -> PodRecord | None:
        """The pod, or None when it is gone; unless `read_only` it is bound or beyond `version` then.

        Raises:
            ApiError, ApiUnreachable, DecodeError: as `_certain`, after several tries.
        """
        tries = 0
        while True:
            try:
                if read_only:
                    return self.read(wanted.namespace, wanted.name, wanted.uid)
                return self._certain(wanted.namespace, wanted.name, wanted.uid, version)
            except (ApiError, ApiUnreachable, DecodeError):
                tries += 1
                if tries == MOST_TRIES or self._clock() + PAUSES_S[tries] + READ_TIMEOUT_S > until_s:
                    raise
            self._pause(PAUSES_S[tries])

    def _certain(self, namespace: str, name: str, uid: str, void: int | None) -> PodRecord | None:
        """The pod bound, or with a version after `void` (None: after any that it had); None when it is gone.

        Raises:
            ApiError: no success.
            ApiUnreachable: no answer.
            DecodeError: an answer that is not this pod.
        """
        found = self.read(namespace, name, uid)
        if found is None or found.node or (void is not None and found.resource_version > void):
            return found
        # One value for each version: what is written twice changes nothing the second time, but then the first did.
        value = f"{self._stamp()} {found.resource_version}"
        patch = {"metadata": {"uid": uid, "annotations": {self._annotation: value}}}
        try:
            answer = self._api.patch(pod_path(namespace, name), patch, timeout_s=READ_TIMEOUT_S)
        except ApiError as error:
            if error.says_gone("pods", name):
                return None
            # A namesake answers 409 or 422, but so do a write in between and an admission policy that denies this one.
            again = self.read(namespace, name, uid) if error.status in {409, 422} else found
            if again is None or again.node or again.resource_version > found.resource_version:
                return again
            raise
        touched = self._shown(namespace, name, uid, answer)
        if touched is not None and not touched.node and touched.resource_version in {void, found.resource_version}:
            raise DecodeError(f"{namespace}/{name}: still of version {touched.resource_version} after a touch")
        return touched

    def _shown(self, namespace: str, name: str, uid: str, answer: bytes) -> PodRecord | None:
        record = self._decoder.pod(answer)
        if (record.namespace, record.name) != (namespace, name) or not record.uid:
            raise DecodeError(f"expected pod {namespace}/{name}, got {record.namespace}/{record.name}")
        if record.uid != uid:
            return None  # a namesake
        self._show(record)
        return record

    def _close(self, uid: str) -> None:
        with self._lock:
            self._open.pop(uid, None)


def _was_not_taken(error: Failure) -> bool:
    """Whether it is sure that the API server has not begun to carry the request out, so that it may be sent again."""
    return error.status == 429 if isinstance(error, ApiError) else not error.sent


def _is_certain(error: Failure) -> bool:
    """Whether nothing was written: an API server's own refusal, not its troubles, and not other people's pages."""
    if _was_not_taken(error):
        return True
    return isinstance(error, ApiError) and error.about is not None and 400 <= error.status < 500 and error.status != 408


def _is_conflict(error: Failure) -> bool:
    return isinstance(error, ApiError) and error.status == 409 and error.about is not None


def _pause_s(error: Failure, times: int) -> float:
    """How long to wait before another try after the failure number `times` of its kind."""
    asked_s = (error.retry_after_s or 0.0) if isinstance(error, ApiError) else 0.0
    first = 0 if _is_conflict(error) else 1
    return max(asked_s, PAUSES_S[min(first + times // 2, len(PAUSES_S) - 1)])


def _told(error: Exception) -> str:
    """For kube-scheduler: the same text for the same trouble, else each try would be news to it and come at once."""
    if isinstance(error, ApiUnreachable):
        return "API server: no answer" if error.sent else "API server: can't be reached"
    return f"API server: {error}"
