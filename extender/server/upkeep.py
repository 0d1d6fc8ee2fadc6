"""Works in the background: wakes refused pods when room appears, settles binds of unknown outcome, looks after holds.

It holds the state's lock for far less than a millisecond at a time; every round has a bound on what it does.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from extender.kube.client import pod_path
from extender.kube.errors import ApiError, ApiUnreachable
from extender.scheduling.waking import RefusedPod
from extender.server.binder import Binder
from extender.server.state.state import State
from extender.server.volumes import VolumeWaits

_LOG = logging.getLogger(__name__)

ROUND_S = 0.25
SETTLED_S = 0.25
"""kube-scheduler's own retry gets this long after room appeared; a pod it placed needs no waking."""

WAKES_A_ROUND = 32
SETTLES_A_ROUND = 16
UNSETTLED_S = 2.0
"""The watch shows a bind within milliseconds; one whose call is still under way is let be."""

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
MAX_REMEMBERED = 20_000
_CONFLICTS = frozenset({409, 422})


class UpkeepApi(Protocol):
    """What upkeep needs of the API server; see `extender.kube.client.KubeApi`."""

    def read(self, path: str, timeout_s: float = ...) -> bytes:
        """Read an object."""
        ...

    def patch(self, path: str, body: Mapping[str, object], timeout_s: float = ...) -> bytes:
        """Apply a JSON merge patch."""
        ...


@dataclass(frozen=True, slots=True)
class _Touched:
    times: int
    refused_at_s: float
    next_s: float


class Upkeep:
    """Runs in threads until stopped; tests call `round` instead.

    A pod is woken by a new value of its retry annotation, which puts it back into kube-scheduler's queue. A pod that is
    refused again for reasons outside gpupack is woken again only after growing pauses.
    """

    def __init__(
        self,
        state: State,
        binder: Binder,
        api: UpkeepApi,
        retry_annotation: str,
        clock: Callable[[], float],
    ) -> None:
        self._state = state
        self._binder = binder
        self._api = api
        self._annotation = retry_annotation
        self._clock = clock
        self._volumes = VolumeWaits(state, api, clock)
        self._touched: OrderedDict[str, _Touched] = OrderedDict()
        self._postponed: dict[str, tuple[RefusedPod, float]] = {}
        self._settle_after_s: dict[str, float] = {}
        self._stop = threading.Event()
        # Reads of claims can take seconds, for which neither waking nor settling waits.
        self._threads = [
            threading.Thread(target=self._run, args=(each,), name=name, daemon=True)
            for name, each in (("upkeep", self._settle_and_wake), ("volumes", self._volumes.round))
        ]
        self.woken = 0

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float) -> None:
        """End; wait at most `timeout_s` for the rounds that are under way."""
        self._stop.set()
        until_s = time.monotonic() + timeout_s
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, until_s - time.monotonic()))

    def _run(self, one_round: Callable[[], None]) -> None:
        while not self._stop.wait(ROUND_S):
            try:
                one_round()
            except Exception:  # noqa: BLE001 (upkeep must outlive any one round)
                _LOG.exception("upkeep round failed; the next one tries again")
                self._stop.wait(FIRST_PAUSE_S)

    def round(self) -> None:
        """Do once what each of the threads does again and again."""
        self._volumes.round()
        self._settle_and_wake()

    def _settle_and_wake(self) -> None:
        """Show that the process runs, settle binds, wake what fits now."""
        self._state.beat()
        self._settle()
        pods = [*self._due_again(), *self._state.worth_waking(SETTLED_S, WAKES_A_ROUND, self._may_touch)]
        for at, pod in enumerate(pods):
            if self._stop.is_set():
                return
            if not self._may_touch(pod):
                continue
            try:
                self._touch(pod)
            except ApiUnreachable as error:
                _LOG.warning("can't wake pod %s/%s: %s", pod.namespace, pod.name, error)
                self._postpone(pods[at:], self._touched[pod.uid].next_s)
                return

    def _due_again(self) -> list[RefusedPod]:
        """Pods that could not be woken and whose pause is over, if they still have no node."""
        now_s = self._clock()
        due = [uid for uid, (_, at_s) in self._postponed.items() if at_s <= now_s][:WAKES_A_ROUND]
        pods = [self._postponed.pop(uid)[0] for uid in due]
        known = [(pod, self._state.pod(pod.uid)) for pod in pods]
        return [pod for pod, record in known if record is not None and not record.node]

    def _postpone(self, pods: Sequence[RefusedPod], until_s: float) -> None:
        for pod in pods:
            if len(self._postponed) < MAX_REMEMBERED:
                self._postponed[pod.uid] = (pod, until_s)

    def _settle(self) -> None:
        now_s = self._clock()
        unsettled = self._state.unsettled(UNSETTLED_S)
        still = {one.holder.uid for one in unsettled}
        self._settle_after_s = {uid: at_s for uid, at_s in self._settle_after_s.items() if uid in still}
        due = [one for one in unsettled if self._settle_after_s.get(one.holder.uid, 0.0) <= now_s]
        for one in due[:SETTLES_A_ROUND]:
            age_s = now_s - one.since_s
            self._settle_after_s[one.holder.uid] = now_s + min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S, age_s / 4))
            if not self._binder.settle(one):
                return  # each of the others would wait for the API server as long

    def _may_touch(self, pod: RefusedPod) -> bool:
        touched = self._touched.get(pod.uid)
        return touched is None or self._clock() >= touched.next_s or pod.waiting_since_s != touched.refused_at_s

    def _touch(self, pod: RefusedPod) -> None:
        """Wake the pod.

        Raises:
            ApiUnreachable: no answer.
        """
        before = self._touched.get(pod.uid)
        now_s = self._clock()
        fresh = before is None or before.refused_at_s != pod.waiting_since_s
        times = 1 if fresh or before is None else before.times + 1
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(times, 10))
        self._touched[pod.uid] = _Touched(times, pod.waiting_since_s, now_s + pause_s)
        self._touched.move_to_end(pod.uid)
        if len(self._touched) > MAX_REMEMBERED:
            self._touched.popitem(last=False)
        try:
            patch = {"metadata": {"uid": pod.uid, "annotations": {self._annotation: f"{now_s:.3f}"}}}
            self._api.patch(pod_path(pod.namespace, pod.name), patch, timeout_s=3.0)
        except ApiError as error:
            if not self._is_gone(pod, error):
                _LOG.warning("can't wake pod %s/%s: %s", pod.namespace, pod.name, error)
                self._postpone([pod], self._touched[pod.uid].next_s)
        else:
            self.woken += 1
            _LOG.info("woke pod %s/%s: there is room for it now", pod.namespace, pod.name)

    def _is_gone(self, pod: RefusedPod, error: ApiError) -> bool:
        """Whether there is proof that the pod is gone, after its patch was refused with this error.

        Where another pod has its name by now, the patch fails on the UID, as it may fail for other reasons.

        Raises:
            ApiUnreachable: no answer.
        """
        if error.status not in _CONFLICTS:
            return error.says_gone("pods", pod.name)
        try:
            return self._binder.is_gone(pod.namespace, pod.name, pod.uid)
        except ApiError:
            return False
