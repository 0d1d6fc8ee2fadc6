"""An API server's Events in memory; faults are ordered, and writing can be held up."""

import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

from tests.fakes.refusals import not_found, refused

_ONCE_S = 10.0


class EventsApi:
    """Behaves as the API server: an Event that is not there can't be changed, one that is there not be created.

    `troubles` are taken one by one, instead of a write. While `gate` is closed, writes wait for it.
    """

    def __init__(self) -> None:
        self.events: dict[str, dict[str, Any]] = {}
        self.troubles: deque[Exception] = deque()
        self.tried = 0
        self.gate = threading.Event()
        self.gate.set()

    def create(self, path: str, body: Mapping[str, object], timeout_s: float = 10.0) -> bytes:
        """Keep it, or 409."""
        self._enter(timeout_s)
        written = dict(body)
        metadata = written["metadata"]
        assert isinstance(metadata, dict)
        assert path == f"/api/v1/namespaces/{metadata['namespace']}/events"
        if metadata["name"] in self.events:
            raise refused(409, "AlreadyExists", f'events "{metadata["name"]}" already exists')
        self.events[metadata["name"]] = written
        return b""

    def patch(self, path: str, body: Mapping[str, object], timeout_s: float = 10.0) -> bytes:
        """Change it, or 404."""
        self._enter(timeout_s)
        folder, _, name = path.rpartition("/")
        if name not in self.events:
            raise not_found("events", name)
        assert folder == f"/api/v1/namespaces/{self.events[name]['metadata']['namespace']}/events"
        self.events[name].update(body)
        return b""

    def _enter(self, timeout_s: float) -> None:
        assert timeout_s > 0
        self.tried += 1
        assert self.gate.wait(_ONCE_S)
        if self.troubles:
            raise self.troubles.popleft()
