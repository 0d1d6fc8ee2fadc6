"""Reports containers that exceed their share for too long, and evicts their pods if that is turned on."""

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from device_plugin.pods.events import Events
from device_plugin.pods.pod import BoundPod
from device_plugin.pods.store import PodStore
from device_plugin.pods.writing import WRITE_ERRORS, Creating
from device_plugin.usage.accounting.overuse import Overuse, OveruseRecord, ShareKey, shares_of
from device_plugin.usage.accounting.usage import UsageReader
from extender.contract.units import UnitMib
from extender.kube.client import pod_path
from extender.kube.errors import ApiError
from extender.kube.retries import Backoff

_LOG = logging.getLogger(__name__)

OVER_SHARE = "GPUMemoryOverShare"
EVICTED = "GPUMemoryEvicted"
EVICTION_WAITS = "GPUMemoryEvictionBlocked"


@dataclass(slots=True)
class _Wanted:
    """A pod to be evicted: failed tries so far, and when the next one is due; done when there will be none."""

    failures: int = 0
    next_s: float = 0.0
    done: bool = False


class Police:
    """Watches the shares of one node; `run` it in a thread of its own.

    Args:
        usage: measures what containers use.
        pods: the node's pods.
        unit_mib: size of a memory unit.
        record: since when each container is over its share.
        events: where it is reported.
        api: where pods are evicted; None evicts none.
        interval_s: time between two looks.
        clock_s: monotonic seconds.
    """

    def __init__(
        self,
        *,
        usage: UsageReader,
        pods: PodStore,
        unit_mib: UnitMib,
        record: OveruseRecord,
        events: Events,
        api: Creating | None,
        interval_s: float,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._usage = usage
        self._pods = pods
        self._unit_mib = unit_mib
        self._record = record
        self._events = events
        self._api = api
        self._interval_s = interval_s
        self._clock_s = clock_s
        self._backoff = Backoff(first_s=5.0, last_s=300.0)
        self._reported: set[ShareKey] = set()
        self._wanted: dict[str, _Wanted] = {}
        self.over: tuple[Overuse, ...] = ()
        self.evictions = 0

    @property
    def overused(self) -> tuple[ShareKey, ...]:
        """Containers that have been over their share of a GPU for longer than the grace period."""
        return tuple((found.key, found.gpu) for found in self.over if found.is_past_grace)

    def run(self, stop: threading.Event) -> None:
        """Look again and again until told to stop."""
        while not stop.wait(self._interval_s):
            self.step()

    def step(self) -> None:
        """Look once."""
        usage, pods, now_s = self._usage.usage(), self._pods.pods(), self._clock_s()
        shares = shares_of(pods.values(), self._unit_mib)
        self.over = self._record.note(usage.uses, shares, usage.unknown, now_s)
        late = {(found.key, found.gpu): found for found in self.over if found.is_past_grace}
        for at in late.keys() - self._reported:
            self._report(late[at])
        self._reported = set(late)
        offenders = {found.key.uid: found for found in late.values()}
        self._wanted = {uid: wanted for uid, wanted in self._wanted.items() if uid in offenders}
        if self._api is not None:
            for uid, found in offenders.items():
                self._evict(self._api, found, self._wanted.setdefault(uid, _Wanted()), now_s)

    def _report(self, found: Overuse) -> None:
        pod = self._pods.get(found.key.uid)
        if pod is not None:
            _LOG.warning("pod %s: %s", pod.path, found.text)
            self._events.about_pod(pod, "Warning", OVER_SHARE, found.text)

    def _evict(self, api: Creating, found: Overuse, wanted: _Wanted, now_s: float) -> None:
        pod = self._pods.get(found.key.uid)
        if pod is None or pod.terminating or wanted.done or now_s < wanted.next_s:
            return
        try:
            outcome, problem = evict(api, pod), "a PodDisruptionBudget does not allow it at the moment"
        except WRITE_ERRORS as error:
            outcome, problem = Eviction.LATER, str(error)
        if outcome is Eviction.LATER:
            wanted.failures += 1
            wanted.next_s = now_s + self._backoff.delay_s(wanted.failures, random.random())  # noqa: S311 - spreads
            _LOG.warning("pod %s: not evicted yet: %s", pod.path, problem)
            self._events.about_pod(pod, "Warning", EVICTION_WAITS, f"not evicted yet: {problem}")
            return
        wanted.done = True
        if outcome is Eviction.DONE:
            self.evictions += 1
            _LOG.warning("pod %s: evicted: %s", pod.path, found.text)
            self._events.about_pod(pod, "Warning", EVICTED, f"evicted: {found.text}")


_TIMEOUT_S = 10.0


class Eviction(Enum):
    """The API server's answer to an eviction."""

    DONE = "done"  # the pod will be deleted, after its grace period
    GONE = "gone"  # it no longer exists, or another one has its name
    LATER = "later"  # a PodDisruptionBudget does not allow it at the moment (429)


def evict(api: Creating, pod: BoundPod) -> Eviction:
    """Ask for the eviction of this very pod.

    Raises:
        ApiError: an error that may pass.
        ApiUnreachable: no answer in time.
    """
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod.name, "namespace": pod.namespace},
        "deleteOptions": {"preconditions": {"uid": pod.uid}},
    }
    try:
        api.create(f"{pod_path(pod.namespace, pod.name)}/eviction", body, _TIMEOUT_S)
    except ApiError as error:
        if error.status == 429:
            return Eviction.LATER
        if error.says_gone("pods", pod.name) or (error.status == 409 and error.about is not None):
            return Eviction.GONE
        raise
    return Eviction.DONE
