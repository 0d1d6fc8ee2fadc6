"""From one list+watch of the API server to calls of a handler: the whole list first, then every change."""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from device_plugin.backoff import Backoff
from device_plugin.kubeapi import ApiError, NodeApi, Watch
from device_plugin.pods.decoding import DecodingError, decode_version

_LOG = logging.getLogger(__name__)
_LIST_TIMEOUT_S = 30.0
_SHORTEST_WATCH_S = 240.0
_LASTING_S = 60.0
"""A broken watch is opened again within seconds; one that is not by then is worth a word to those who wait for it."""


class Handler(Protocol):
    """Who is told of the objects."""

    def replace(self, items: Iterable[bytes]) -> None:
        """These are all objects."""
        ...

    def apply(self, kind: str, body: bytes) -> None:
        """One was ADDED, MODIFIED or DELETED."""
        ...


class Watcher:
    """Keeps a handler up to date; `run` it in a thread of its own.

    Habits of client-go: list by quorum, watch from there for 4 to 8 minutes, continue from the last version seen, list
    again on 410, wait longer after every failure. `problem` says what is wrong, empty when all is well.
    """

    def __init__(
        self,
        api: NodeApi,
        path: str,
        field_selector: str,
        handler: Handler,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._path = path
        self._field_selector = field_selector
        self._handler = handler
        self._backoff = Backoff(first_s=0.8, last_s=30.0)
        self._version = ""
        self._watch: Watch | None = None
        self._lock = threading.Lock()
        self._stopped = False
        self._clock_s = clock_s
        self._broken_since_s: float | None = None
        self.synced = threading.Event()
        self.problem = "not listed yet"

    @property
    def lasting_problem(self) -> str:
        """What is wrong and does not pass: before the first list, or for a minute since; empty otherwise."""
        since_s = self._broken_since_s
        lasts = since_s is not None and self._clock_s() - since_s >= _LASTING_S
        return self.problem if lasts or not self.synced.is_set() else ""

    def run(self, stop: threading.Event) -> None:
        """List and watch until told to stop; call `abort` to end an open watch at once."""
        failures = 0
        while not stop.is_set():
            started_s = time.monotonic()
            try:
                self._round()
                failures = 0
            except (ApiError, DecodingError) as error:
                if stop.is_set():
                    return
                if isinstance(error, ApiError) and error.is_expired:
                    self._version = ""
                # A watch that ran for long and then broke is no reason to wait long.
                failures = 1 if time.monotonic() - started_s > _SHORTEST_WATCH_S else failures + 1
                if self.problem != str(error):
                    _LOG.warning("%s: %s", self._path, error)
                self.problem = str(error)
                if self._broken_since_s is None:
                    self._broken_since_s = self._clock_s()
                stop.wait(self._backoff.delay_s(failures, random.random()))  # noqa: S311 - spreads retries

    def abort(self) -> None:
        """End an open watch; for use after the stop event is set."""
        with self._lock:
            self._stopped = True
            if self._watch is not None:
                self._watch.abort()

    def _round(self) -> None:
        if not self._version:
            page = self._api.list(self._path, self._field_selector, _LIST_TIMEOUT_S)
            self._handler.replace(page.items)
            self._version = page.version
            self.synced.set()
        length_s = _SHORTEST_WATCH_S * (1 + random.random())  # noqa: S311 - spreads reconnects
        watch = self._api.watch(self._path, self._field_selector, self._version, length_s)
        self.problem, self._broken_since_s = "", None
        with self._lock:
            self._watch = watch
            if self._stopped:
                watch.abort()
        try:
            for event in watch:
                if event.kind != "BOOKMARK":
                    self._handler.apply(event.kind, event.body)
                self._version = decode_version(event.body) or self._version
        finally:
            with self._lock:
                self._watch = None
