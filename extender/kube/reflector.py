"""Keep a sink in step with one collection of the API server, by list and watch, as client-go's reflector does.

The loop owns no state of the cluster. It hands each full list and each change on in the order of the API server,
duplicates included, and survives whatever the network, the server and single objects do. Followed from client-go's
tools/cache/reflector.go: pages, bookmarks, random watch timeouts, a relist on 410, backoff with jitter.

Unlike client-go's it notices when the API server's storage was restored from a backup. A watch from a version of the
future is accepted and silent, so the version of now is asked for before a watch is opened again.
"""

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Generic

from extender.contract.quantity import parse_digits
from extender.kube.errors import ApiError, ApiUnreachable, error_of_event
from extender.kube.listing import (
    PAGE_BYTES,
    PAGE_ITEMS,
    EnvelopeError,
    ListPage,
    Record,
    Sink,
    WatchEvent,
    identity_of,
    list_pages,
    parse_event,
    parse_list_page,
    version_of,
)
from extender.kube.objects import UNKNOWN, DecodeError, Identity
from extender.kube.retries import Backoff, FailureLog
from extender.kube.slices import Slices
from extender.kube.watchstream import SILENCE_S, Lines, LineTooLongError, Source

_LOG = logging.getLogger(__name__)
_GONE = 410
_LASTING_S = 60.0
"""A broken watch is opened again within seconds; one that is not by then is worth a word in a readiness check."""

_MAX_LOGGED = 3
"""Unreadable objects that are logged one by one for each list, and for each watch."""


@dataclass(frozen=True, slots=True)
class ReflectorSettings:
    """How a reflector paces itself.

    Attributes:
        page_size: objects in one list page, at most.
        page_bytes: bound on a page, from which the bound on memory follows: see `list_pages`.
        list_timeout_s: for one list page.
        watch_timeout_s: the server ends a watch after a time drawn from this span, so that watches spread out.
        watch_tries: refused watches in a row before the state is listed again: the server may have lost the version.
            With 1 every outage costs a list, and none hides a restore of which the version has come as far as before.
        silence_s: a watch without a byte for so long is dropped and opened again.
        steady_s: what lasted so long counts as healthy: the failures before it are forgotten.
        max_retry_after_s: bound on the wait that a server may ask for.
        backoff: how long to wait after failures.
    """

    page_size: int = PAGE_ITEMS
    page_bytes: int = PAGE_BYTES
    list_timeout_s: float = 60.0
    watch_timeout_s: tuple[float, float] = (300.0, 600.0)
    watch_tries: int = 3
    silence_s: float = SILENCE_S
    steady_s: float = 5.0
    max_retry_after_s: float = 120.0
    backoff: Backoff = field(default_factory=Backoff)

    def __post_init__(self) -> None:
        if min(self.page_size, self.watch_tries) < 1:
            raise ValueError(f"page_size {self.page_size}, watch_tries {self.watch_tries}: expected at least 1")
        low_s, high_s = self.watch_timeout_s
        if not 1 <= low_s <= high_s:
            raise ValueError(f"watch_timeout_s {self.watch_timeout_s}: expected 1 <= low <= high")
        if min(self.list_timeout_s, self.silence_s) <= 0:
            raise ValueError(f"list_timeout_s {self.list_timeout_s}, silence_s {self.silence_s}: expected more than 0")


@dataclass(slots=True)
class ReflectorCounts:
    """What has happened since the start; written by the reflector's thread, read by anyone."""

    lists: int = 0
    watches: int = 0
    events: int = 0
    failures: int = 0
    sink_errors: int = 0
    unreadable: int = 0


class Reflector(Generic[Record]):
    """Keeps one sink in step with one collection, in a thread of its own.

    A list that outlives its continue token is fetched in one piece, the one case that `list_pages` does not bound.
    `clock` is monotonic seconds. `stopping` is the event that ends the loop; every pause is a wait on it.
    """

    def __init__(
        self,
        source: Source,
        path: str,
        sink: Sink[Record],
        *,
        settings: ReflectorSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
        draws: random.Random | None = None,
        stopping: threading.Event | None = None,
    ) -> None:
        self.path = path
        self.counts = ReflectorCounts()
        self._source = source
        self._sink = sink
        self._settings = settings or ReflectorSettings()
        self._clock = clock
        self._draws = draws or random.Random()  # noqa: S311 - spreads waits, guards nothing
        self._stopping = stopping or threading.Event()
        self._synced = threading.Event()
        self._contact_at = -inf
        self._listed_at = -inf
        self._seen = 0
        self._is_fresh = False
        self._failures_in_a_row = 0
        self._watches_refused = 0
        self._failure_log = FailureLog(_LOG, path)
        self._problem = "not listed yet"
        self._broken_since_s = inf
        self._unreadable_logged = 0
        self._list_is_due = False
        self._lock = threading.Lock()
        self._stream: Lines | None = None
        self._slices = Slices()
        self._thread = threading.Thread(target=self.run, name=f"reflector {path}", daemon=True)

    def start(self) -> None:
        """Begin to list and watch."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """End the loop, waiting at most `timeout_s`; whether it has ended.

        A blocked watch and a pause end at once; a list page under way ends with its own timeout.
        """
        self._stopping.set()
        with self._lock:
            if self._stream is not None:
                self._stream.abort()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def synced(self) -> bool:
        """Whether the first full list is in the sink."""
        return self._synced.is_set()

    def wait_synced(self, timeout_s: float) -> bool:
        """Wait for `synced`; whether it was reached in time."""
        return self._synced.wait(timeout_s)

    def contact_age_s(self, now: float) -> float:
        """Seconds from the last sign that this view is fed (a page, a line, an opened watch) to `now` on its clock."""
        return now - self._contact_at

    @property
    def problem(self) -> str:
        """What keeps the sink from being up to date at this moment; empty when all is well."""
        return self._problem

    @property
    def lasting_problem(self) -> str:
        """The problem, once it has lasted for a minute or while nothing was listed yet; empty otherwise."""
        return self._problem if self._clock() - self._broken_since_s >= _LASTING_S or not self.synced else ""

    def run(self) -> None:
        """List and watch until stopped; `start` does it in a thread of its own."""
        version: str | None = None
        while not self._stopping.is_set():
            try:
                version = self._list() if version is None else self._watch(version)
            except Exception:  # noqa: BLE001 - a bug met by one answer must not freeze the view: that would overbook
                self.counts.failures += 1
                self._broken("unexpected error, see the log")
                _LOG.exception("%s: unexpected error, listing again", self.path)
                version = None
                self._pause()

    def _list(self) -> str | None:
        """Hand one full list to the sink; the version to watch from, or None when it has to be tried again."""
        try:
            records, unreadable, version = self._pages()
        except (ApiError, ApiUnreachable, EnvelopeError) as error:
            self._failed("list", error)
            return None
        if self._stopping.is_set():
            return None
        number = parse_digits(version) or 0
        rewound = number < self._seen
        if rewound:
            _LOG.warning("%s: back from version %d to %s: the storage was restored", self.path, self._seen, version)
        try:
            self._sink.replaced(records, unreadable, version, rewound=rewound)
        except Exception:  # noqa: BLE001 - whatever a sink raises, the loop outlives it
            self.counts.sink_errors += 1
            _LOG.exception("%s: list of %d objects could not be applied", self.path, len(records))
            self._pause()
            return None
        self._listed_at = self._clock()
        self._seen, self._is_fresh = number, True
        self._list_is_due = False
        self._watches_refused = 0
        self.counts.lists += 1
        self._failure_log.succeeded("list")
        self._synced.set()
        return version

    def _pages(self) -> tuple[list[Record], list[Identity], str]:
        """All records, what could not be read, and the version to watch from.

        It is that of the first page: a watch from there misses nothing that came between pages.
        """
        records: list[Record] = []
        unreadable: list[Identity] = []
        version, paced = "", self._settings
        self._unreadable_logged = 0
        try:
            for page in list_pages(self._source, self.path, paced.list_timeout_s, paced.page_size, paced.page_bytes):
                version = version or page.resource_version
                self._read(page, records, unreadable)
                if self._stopping.is_set():
                    break
        except ApiError as error:
            if error.status != _GONE or not version:
                raise
            _LOG.info("%s: the list outlived its continue token, listing in one piece", self.path)
            page = parse_list_page(self._source.list_page(self.path, 0, "", paced.list_timeout_s))
            records, unreadable, version = [], [], page.resource_version
            self._read(page, records, unreadable)
        return records, unreadable, version

    def _read(self, page: ListPage, records: list[Record], unreadable: list[Identity]) -> None:
        self._contact_at = self._clock()
        for raw in page.items:
            try:
                records.append(self._sink.read(raw))
            except DecodeError as error:
                identity = identity_of(raw)
                unreadable.append(identity)
                self._left_out(identity, error)

    def _left_out(self, identity: Identity, error: Exception) -> None:
        """Count and log an object that cannot be read; a list follows this watch where it is not known which it is."""
        self.counts.unreadable += 1
        self._list_is_due = self._list_is_due or not identity.uid
        self._unreadable_logged += 1
        level = logging.ERROR if self._unreadable_logged <= _MAX_LOGGED else logging.DEBUG
        _LOG.log(level, "%s: %s cannot be read and is left out: %s", self.path, str(identity) or "an object", error)

    def _watch(self, version: str) -> str | None:
        """Follow one watch to its end; the version to go on from, or None when the state must be listed again."""
        timeout_s = self._draws.uniform(*self._settings.watch_timeout_s)
        try:
            if self._is_rewound():
                return None
            stream = self._source.watch(self.path, version, timeout_s, self._settings.silence_s)
        except (ApiError, ApiUnreachable, EnvelopeError) as error:
            return self._watch_refused(version, error)
        opened_at = self._contact_at = self._clock()
        self.counts.watches += 1
        self._watches_refused = 0
        self._unreadable_logged = 0
        self._problem, self._broken_since_s = "", inf
        self._failure_log.succeeded("watch")
        with self._lock:
            self._stream = stream
            if self._stopping.is_set():
                stream.abort()
        try:
            version, end = self._follow(stream, version)
        finally:
            with self._lock:
                self._stream = None
            stream.close()
        return self._watch_ended(version, end, self._clock() - opened_at)

    def _is_rewound(self) -> bool:
        """Whether what was seen is newer than now, raising as `version_of`; just after a list that is not asked."""
        if self._is_fresh:
            self._is_fresh = False
            return False
        now = parse_digits(version_of(self._source, self.path, self._settings.list_timeout_s))
        return now is not None and now < self._seen

    def _watch_refused(self, version: str, error: ApiError | ApiUnreachable | EnvelopeError) -> str | None:
        if isinstance(error, ApiError) and error.status == _GONE:
            self._expired(version)
            return None
        self._failed("watch", error)
        self._watches_refused += 1
        return version if self._watches_refused < self._settings.watch_tries else None

    def _follow(self, stream: Lines, version: str) -> tuple[str, Exception | None]:
        """Hand events to the sink until the watch ends; the last version seen, and what ended it if not the server."""
        start = self._seen
        while not self._stopping.is_set():
            try:
                event = parse_event(self._next(stream))
            except StopIteration:
                break
            except EnvelopeError as error:
                self._left_out(UNKNOWN, error)
                continue
            except (ApiUnreachable, LineTooLongError) as error:
                return version, error
            if event.kind == "ERROR":
                return version, error_of_event(event.raw)
            self._failure_log.succeeded("watch event")
            number = parse_digits(event.identity.resource_version)
            if number is not None and number < start:
                return version, ApiError(_GONE, "Expired", f"an event of version {number} in a watch from {start}")
            self._seen = max(self._seen, number or 0)
            version = event.identity.resource_version or version
            if event.kind != "BOOKMARK":
                self._deliver(event)
            self._slices.breathe()
        return version, None

    def _next(self, stream: Lines) -> bytes:
        if stream.at_hand:
            return next(stream)
        self._slices.away()
        line = next(stream)
        self._slices.back()
        self._contact_at = self._clock()
        return line

    def _deliver(self, event: WatchEvent) -> None:
        self.counts.events += 1
        try:
            if not event.identity.uid:
                self._left_out(event.identity, DecodeError("metadata.uid is empty or cannot be read"))
            elif event.kind == "DELETED":
                self._sink.deleted(event.identity)
            else:
                self._sink.changed(self._sink.read(event.raw))
        except DecodeError as error:
            self._left_out(event.identity, error)
        except Exception:  # noqa: BLE001 - one bad object must not hide the ones after it
            self.counts.sink_errors += 1
            _LOG.exception("%s: event %s of %s could not be applied", self.path, event.kind, event.identity)

    def _watch_ended(self, version: str, end: Exception | None, lasted_s: float) -> str | None:
        """Decide what follows a watch that was open for `lasted_s`; as `_watch`."""
        steady = lasted_s >= self._settings.steady_s
        if steady:
            self._failures_in_a_row = 0
            self._failure_log.succeeded("watch stream")
        if self._stopping.is_set():
            return None
        if isinstance(end, ApiError) and end.status == _GONE:
            self._expired(version)
            return None
        if end is not None and not isinstance(end, ApiUnreachable):
            # What the event was about is not known: nothing less than a list makes the view whole again.
            self._failed("watch event", end)
            return None
        if not steady:
            self._failed("watch stream", end or ApiUnreachable("the server ended it too soon", sent=True))
        return None if self._list_is_due else version

    def _expired(self, version: str) -> None:
        """The server has forgotten `version`: list at once, unless a list has only just been made."""
        _LOG.info("%s: resource version %s is too old, listing again", self.path, version)
        if self._clock() - self._listed_at < self._settings.steady_s:
            self._pause()

    def _failed(self, step: str, error: Exception) -> None:
        """Log and count a failure, and wait: as long as the server asks, within bounds."""
        self.counts.failures += 1
        self._broken(f"{step}: {error}")
        self._failure_log.failed(step, error)
        asked_s = (error.retry_after_s or 0.0) if isinstance(error, ApiError) else 0.0
        self._pause(min(asked_s, self._settings.max_retry_after_s))

    def _broken(self, problem: str) -> None:
        self._problem, self._broken_since_s = problem, min(self._broken_since_s, self._clock())

    def _pause(self, at_least_s: float = 0.0) -> None:
        self._failures_in_a_row += 1
        delay_s = self._settings.backoff.delay_s(self._failures_in_a_row, self._draws.random())
        self._stopping.wait(max(delay_s, at_least_s))
