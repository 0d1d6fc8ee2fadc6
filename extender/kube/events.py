"""Record Events on pods and nodes, in a thread of its own and at a bounded rate.

Nobody waits for an Event, so they give way: while pod after pod is decided they are written later. What says the same
of the same object again is counted on the Event that is there; when more happens than can be written, the oldest news
is dropped and counted.
"""

import hashlib
import logging
import random
import threading
import uuid
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Protocol

from extender.kube.client import events_path
from extender.kube.errors import ApiError, ApiUnreachable
from extender.kube.retries import Backoff, FailureLog

_LOG = logging.getLogger(__name__)

TIMEOUT_S = 5.0
MAX_WAITING = 4_096
MAX_REMEMBERED = 4_096
MAX_TRIES = 5
RETRIES = Backoff(first_s=0.8, last_s=30.0)
BURST = 25
"""Events that may be written at once after a quiet time."""

QUIET_S = 0.5
"""News that nothing has followed for so long is written at once."""

PATIENCE_S = 10.0
"""News that has waited for so long is written although more comes: an Event costs the API server as much as a bind."""

_LOOK_S = 0.1

LONGEST_MESSAGE = 1_024
LONGEST_NAME = 230
OUTCOMES = ("written", "dropped", "refused", "failed")


@dataclass(frozen=True, slots=True)
class News:
    """What an Event says of an object: `Normal` or `Warning`, a reason in one word, and a sentence.

    Equal ones are counted on one Event. `namespace` is empty for a node. What is said `once` has the same name whoever
    writes it, so that it is there once when several programs say it, or one after a restart.
    """

    namespace: str
    name: str
    uid: str
    level: str
    reason: str
    message: str
    kind: str = "Pod"
    once: bool = False


def node_news(name: str, level: str, reason: str, message: str) -> News:
    """What is to be said of a node; its UID is its name, as the kubelet writes it and kubectl looks for it."""
    return News("", name, name, level, reason, message, "Node")


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Since when news waits by the clock, how many times it was said, and the time of the first."""

    since_s: float
    times: int
    first_at: str


class EventsApi(Protocol):
    """What writing Events needs of the API server; see `extender.kube.client.KubeApi`."""

    def create(self, path: str, body: Mapping[str, object], timeout_s: float = ...) -> bytes:
        """Create an object in a collection."""
        ...

    def patch(self, path: str, body: Mapping[str, object], timeout_s: float = ...) -> bytes:
        """Change fields of an object."""
        ...


class EventRecorder:
    """Writes Events in one program's name.

    Args:
        api: where they go.
        component: name of the program, e.g. `gpupack-extender`.
        host: name of this instance, in `reportingInstance`.
        node: the node that the program looks after, as the source of its Events; empty for none.
        now: the time, RFC 3339 in whole seconds, as Events have it.
        clock: monotonic seconds.
        per_s: Events a second in the long run; 0 writes none.
        limit: news that may wait.
        backoff: between tries.
    """

    def __init__(
        self,
        api: EventsApi,
        *,
        component: str,
        host: str,
        node: str = "",
        now: Callable[[], str],
        clock: Callable[[], float],
        per_s: float,
        limit: int = MAX_WAITING,
        backoff: Backoff = RETRIES,
    ) -> None:
        self._api = api
        self._component = component
        self._host = host
        self._source = {"component": component, **({"host": node} if node else {})}
        self._now = now
        self._clock = clock
        self._per_s = per_s
        self._limit = limit
        self._backoff = backoff
        self._failures = FailureLog(_LOG, "events")
        self._changed = threading.Condition()
        self._waiting: OrderedDict[News, _Waiting] = OrderedDict()
        self._latest_s = -inf
        self._written: OrderedDict[News, tuple[str, int]] = OrderedDict()
        self._counts: Counter[str] = Counter()
        self._tokens = float(BURST)
        self._filled_s = clock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)

    def put(self, news: News) -> None:
        """Say something of an object; returns at once."""
        if self._per_s <= 0:
            return
        with self._changed:
            self._latest_s = self._clock()
            known = self._waiting.get(news)
            if known is None:
                self._waiting[news] = _Waiting(self._latest_s, 1, self._now())
            else:
                self._waiting[news] = replace(known, times=known.times + 1)
            if len(self._waiting) > self._limit:
                self._waiting.popitem(last=False)
                self._counts["dropped"] += 1
            self._changed.notify()

    def counts(self) -> dict[str, int]:
        """Events by outcome: written, dropped, refused by the API server, failed after several tries."""
        with self._changed:
            return {outcome: self._counts[outcome] for outcome in OUTCOMES}

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End; what still waits is dropped."""
        self._stop.set()
        with self._changed:
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        with self._changed:
            left = len(self._waiting)
            self._counts["dropped"] += left
            self._waiting.clear()
        if left:
            _LOG.info("%d events are not written: stopping", left)

    def _run(self) -> None:
        while not self._stop.is_set():
            pause_s = self._pause_s()
            if pause_s > 0:
                self._stop.wait(pause_s)
                continue
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting) or self._stop.is_set(), 1.0)
                due = self._due()
                item = self._waiting.popitem(last=False) if due and not self._stop.is_set() else None
            if item is not None:
                self._tokens -= 1.0
                try:
                    self._deliver(*item)
                except Exception:  # noqa: BLE001 - a bug met by one Event must not silence all others
                    self._count("failed")
                    _LOG.exception("event is not written: unexpected error")
            elif not due:
                self._stop.wait(_LOOK_S)

    def _due(self) -> bool:
        """Whether the oldest news is to be written now; the lock is held."""
        if not self._waiting:
            return False
        now_s, oldest = self._clock(), next(iter(self._waiting.values()))
        full = 2 * len(self._waiting) >= self._limit
        return full or now_s - self._latest_s >= QUIET_S or now_s - oldest.since_s >= PATIENCE_S

    def _pause_s(self) -> float:
        """Seconds until the next Event may be written: a bucket of tokens, as client-go limits its requests."""
        now_s = self._clock()
        self._tokens = min(float(BURST), self._tokens + (now_s - self._filled_s) * self._per_s)
        self._filled_s = now_s
        return 0.0 if self._tokens >= 1.0 else (1.0 - self._tokens) / self._per_s

    def _deliver(self, news: News, waiting: _Waiting) -> None:
        for failures in range(1, MAX_TRIES + 1):
            try:
                self._write(news, waiting)
            except ApiError as error:
                self._failures.failed("write", error)
                if error.about is not None and 400 <= error.status < 500 and error.status != 429:
                    self._count("refused")  # the same again would be refused again
                    return
            except ApiUnreachable as error:
                self._failures.failed("write", error)
            else:
                self._failures.succeeded("write")
                self._count("written")
                return
            if self._stop.wait(self._backoff.delay_s(failures, random.random())):  # noqa: S311 - spreads retries
                break
        self._count("failed")

    def _count(self, outcome: str) -> None:
        with self._changed:
            self._counts[outcome] += 1

    def _write(self, news: News, waiting: _Waiting) -> None:
        name, count = self._written.get(news, ("", 0))
        namespace = news.namespace or "default"
        if name:
            try:
                change = {"count": count + waiting.times, "lastTimestamp": self._now()}
                self._api.patch(events_path(namespace, name), change, timeout_s=TIMEOUT_S)
            except ApiError as error:
                if not error.says_gone("events", name):
                    raise
                name, count = "", 0  # the API server keeps Events for an hour
        if not name:
            name = _name_of(news)
            try:
                body = self._body(news, namespace, name, waiting)
                self._api.create(events_path(namespace), body, timeout_s=TIMEOUT_S)
            except ApiError as error:
                if not (news.once and error.status == 409):
                    raise
        self._written[news] = (name, count + waiting.times)
        self._written.move_to_end(news)
        if len(self._written) > MAX_REMEMBERED:
            self._written.popitem(last=False)

    def _body(self, news: News, namespace: str, name: str, waiting: _Waiting) -> dict[str, object]:
        long = len(news.message) > LONGEST_MESSAGE
        about = {"apiVersion": "v1", "kind": news.kind, "name": news.name, "uid": news.uid}
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {**about, **({"namespace": news.namespace} if news.namespace else {})},
            "type": news.level,
            "reason": news.reason,
            "message": f"{news.message[: LONGEST_MESSAGE - 1]}…" if long else news.message,
            "source": self._source,
            "reportingComponent": self._component,
            "reportingInstance": self._host,
            "firstTimestamp": waiting.first_at,
            "lastTimestamp": self._now(),
            "count": waiting.times,
        }


def _name_of(news: News) -> str:
    chosen = hashlib.sha256(f"{news.uid} {news.reason}".encode()).hexdigest() if news.once else uuid.uuid4().hex
    return f"{news.name[:LONGEST_NAME].rstrip('.-')}.{chosen[:16]}"
