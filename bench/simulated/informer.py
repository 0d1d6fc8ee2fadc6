"""Follows one collection of an API server in a thread: lists, watches, and lists again when needed."""

import logging
import random
import threading
from collections.abc import Callable
from typing import Any

import msgspec

from bench.simulated.client import ClusterClient, FailureStatusError, UnreachableError

Body = dict[str, Any]
Handler = Callable[[str, Body], None]
_LOG = logging.getLogger(__name__)
_SHORTEST_S = 0.05
_LONGEST_S = 5.0
_TIMEOUT_S = 300


class _RelistError(Exception):
    """The watch cannot be continued from where it was."""


class Informer:
    """Follows a collection and calls `handle(type, object)` with ADDED, MODIFIED and DELETED, from its own thread.

    Args:
        client: how to reach the API server.
        path: the collection, such as `/api/v1/pods`.
        handle: called with every change; after a new list also for what changed unseen.
        field_selector: what to follow of it.
    """

    def __init__(
        self,
        client: ClusterClient,
        path: str,
        handle: Handler,
        *,
        field_selector: str = "",
    ) -> None:
        self._client = client
        self._path = path
        self._handle = handle
        self._query = {"fieldSelector": field_selector} if field_selector else {}
        self._version = ""
        self._known: dict[tuple[str, str], Body] = {}
        self._stopped = threading.Event()
        self._synced = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"informer{path}", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """Stop calling the handler; the thread ends with its current watch."""
        self._stopped.set()

    def wait_synced(self, timeout_s: float = 30.0) -> bool:
        """Wait until the first list has been handled; False when it was not in time."""
        return self._synced.wait(timeout_s)

    def _run(self) -> None:
        pause_s = _SHORTEST_S
        while not self._stopped.is_set():
            try:
                if not self._version:
                    self._version = self._list()
                    self._synced.set()
                self._watch()
                pause_s = _SHORTEST_S
            except _RelistError:
                self._version = ""
            except (FailureStatusError, UnreachableError) as error:
                if isinstance(error, FailureStatusError) and error.status == 410:
                    self._version = ""
                _LOG.debug("%s: %s", self._path, error)
                # Jitter keeps many informers from coming back in step.
                self._stopped.wait(pause_s * random.uniform(0.5, 1.0))
                pause_s = min(_LONGEST_S, pause_s * 2)

    def _list(self) -> str:
        items, version = self._client.list_all(self._path, **self._query)
        before = self._known
        self._known = {}
        for item in items:
            key = _key(item)
            old = before.pop(key, None)
            self._known[key] = item
            if old is not None and _uid(old) != _uid(item):
                self._tell("DELETED", old)
                old = None
            if old is None or old["metadata"]["resourceVersion"] != item["metadata"]["resourceVersion"]:
                self._tell("ADDED" if old is None else "MODIFIED", item)
        for gone in before.values():
            self._tell("DELETED", gone)
        return version

    def _watch(self) -> None:
        lines = self._client.stream(
            self._path,
            read_timeout_s=_TIMEOUT_S + 10,
            resourceVersion=self._version,
            allowWatchBookmarks="true",
            timeoutSeconds=str(_TIMEOUT_S),
            **self._query,
        )
        try:
            for line in lines:
                if self._stopped.is_set():
                    break
                self._version = self._take(line)
        finally:
            lines.close()

    def _take(self, line: bytes) -> str:
        try:
            event = msgspec.json.decode(line)
        except msgspec.MsgspecError as error:
            raise UnreachableError(f"{self._path}: half an event: {error}") from error
        kind, item = event["type"], event["object"]
        if kind == "ERROR":
            raise _RelistError
        version: str = item["metadata"]["resourceVersion"]
        if kind == "BOOKMARK":
            return version
        key = _key(item)
        if kind == "DELETED":
            self._known.pop(key, None)
        else:
            kind = "MODIFIED" if key in self._known else "ADDED"
            self._known[key] = item
        self._tell(kind, item)
        return version

    def _tell(self, kind: str, item: Body) -> None:
        if not self._stopped.is_set():
            self._handle(kind, item)


def _key(item: Body) -> tuple[str, str]:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


def _uid(item: Body) -> str:
    return str(item["metadata"].get("uid", ""))
