"""Queues pods as kube-scheduler does: which is next, which backs off, which sleeps until something changes.

Source: k8s.io/kubernetes/pkg/scheduler/backend/queue (active, backoff and unschedulable pods; backoff 1 s doubling to
10 s; a pod that is backing off without an error is taken early when no other is ready). Pure: time is an argument.
"""

import heapq
import itertools
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """kube-scheduler's own settings.

    Args:
        first_backoff_s: podInitialBackoffSeconds.
        longest_backoff_s: podMaxBackoffSeconds.
        flush_s: how long a pod sleeps if nothing wakes it.
    """

    first_backoff_s: float = 1.0
    longest_backoff_s: float = 10.0
    flush_s: float = 330.0

    def __post_init__(self) -> None:
        if not 0 < self.first_backoff_s <= self.longest_backoff_s or self.flush_s <= 0:
            raise ValueError(f"queue settings: expected 0 < first_backoff_s <= longest_backoff_s, flush_s > 0; {self}")


@dataclass(slots=True)
class QueuedPod:
    """A pod that waits: `place` is active, backoff, error, unschedulable or flight (being scheduled)."""

    uid: str
    priority: int
    created: str
    place: str = "active"
    attempts: int = 0
    failed_s: float = 0.0
    moves_seen: int = 0
    entry: int = 0


class SchedulingQueue:
    """The pods of one scheduler that have no node yet; callers serialise access."""

    def __init__(self, settings: QueueSettings | None = None) -> None:
        self._settings = settings or QueueSettings()
        self._pods: dict[str, QueuedPod] = {}
        self._active: list[tuple[int, str, int, str]] = []
        self._waking: list[tuple[float, int, str]] = []
        self._early: list[tuple[float, int, str]] = []
        self._numbers = itertools.count(1)
        self._moves = 0

    def __len__(self) -> int:
        return len(self._pods)

    def __contains__(self, uid: str) -> bool:
        return uid in self._pods

    def place_of(self, uid: str) -> str:
        """Where a pod waits; empty when it does not."""
        pod = self._pods.get(uid)
        return "" if pod is None else pod.place

    def add(self, uid: str, *, priority: int, created: str) -> None:
        """A new pod; one that is known stays where it is."""
        if uid not in self._pods:
            pod = QueuedPod(uid, priority, created)
            self._pods[uid] = pod
            self._activate(pod)

    def remove(self, uid: str) -> None:
        """A pod that was deleted or bound."""
        self._pods.pop(uid, None)

    def pop(self, now_s: float) -> str | None:
        """The next pod to schedule; None when no pod is ready."""
        self._wake(now_s)
        pod = self._take_active() or self._take_early()
        if pod is None:
            return None
        pod.place, pod.entry = "flight", next(self._numbers)
        pod.attempts += 1
        pod.moves_seen = self._moves
        return pod.uid

    def next_wake_s(self) -> float | None:
        """When the next pod may become ready by itself; None when none will."""
        while self._waking and not self._is_current(self._waking[0][2], self._waking[0][1]):
            heapq.heappop(self._waking)
        return self._waking[0][0] if self._waking else None

    def sleep(self, uid: str, now_s: float) -> None:
        """A pod fits nowhere: it sleeps, or backs off when something has changed while it was tried."""
        pod = self._pods.get(uid)
        if pod is None:
            return
        pod.failed_s = now_s
        if pod.moves_seen != self._moves:
            self._back_off(pod, now_s)
        else:
            self._wait(pod, "unschedulable", now_s + self._settings.flush_s)

    def retry(self, uid: str, now_s: float) -> None:
        """Scheduling failed with an error: try again after the backoff, whatever happens."""
        pod = self._pods.get(uid)
        if pod is not None:
            pod.failed_s = now_s
            self._wait(pod, "error", now_s + self._backoff_s(pod))

    def woken(self, uid: str, now_s: float) -> None:
        """A pod itself has changed."""
        pod = self._pods.get(uid)
        if pod is not None and pod.place == "unschedulable":
            self._back_off(pod, now_s)

    def move_all(self, now_s: float) -> None:
        """Something changed that may make room: sleeping pods become active, after what is left of their backoff."""
        self._moves += 1
        for pod in self._pods.values():
            if pod.place == "unschedulable":
                self._back_off(pod, now_s)

    def _backoff_s(self, pod: QueuedPod) -> float:
        doubled = self._settings.first_backoff_s * 2.0 ** min(pod.attempts - 1, 30)
        return min(self._settings.longest_backoff_s, doubled)

    def _activate(self, pod: QueuedPod) -> None:
        pod.place, pod.entry = "active", next(self._numbers)
        heapq.heappush(self._active, (-pod.priority, pod.created, pod.entry, pod.uid))

    def _back_off(self, pod: QueuedPod, now_s: float) -> None:
        until_s = pod.failed_s + self._backoff_s(pod)
        if until_s <= now_s:
            self._activate(pod)
            return
        self._wait(pod, "backoff", until_s)
        heapq.heappush(self._early, (until_s, pod.entry, pod.uid))

    def _wait(self, pod: QueuedPod, place: str, until_s: float) -> None:
        pod.place, pod.entry = place, next(self._numbers)
        heapq.heappush(self._waking, (until_s, pod.entry, pod.uid))

    def _wake(self, now_s: float) -> None:
        while self._waking and self._waking[0][0] <= now_s:
            _, entry, uid = heapq.heappop(self._waking)
            if self._is_current(uid, entry):
                self._activate(self._pods[uid])

    def _take_active(self) -> QueuedPod | None:
        while self._active:
            _, _, entry, uid = heapq.heappop(self._active)
            if self._is_current(uid, entry):
                return self._pods[uid]
        return None

    def _take_early(self) -> QueuedPod | None:
        """A pod that backs off without an error is taken when no other is ready (SchedulerPopFromBackoffQ)."""
        while self._early:
            _, entry, uid = heapq.heappop(self._early)
            if self._is_current(uid, entry):
                return self._pods[uid]
        return None

    def _is_current(self, uid: str, entry: int) -> bool:
        return uid in self._pods and self._pods[uid].entry == entry
