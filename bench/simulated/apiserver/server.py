"""Serves Kubernetes' HTTP API, simulated, on a loopback port in a thread of this process.

It keeps pods, nodes, events, namespaces, priority classes and leases, and serves lists with pages, watches with
bookmarks, patches, Bindings and graceful deletion with the answers, codes and texts of the real one. No authentication.
"""

import asyncio
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from bench.simulated.apiserver.connections import ClientConnection, Hub
from bench.simulated.apiserver.faults import Fault
from bench.simulated.apiserver.handling import Handler
from bench.simulated.apiserver.listing import Lister
from bench.simulated.apiserver.objects.registry import Moment, Registry
from bench.simulated.apiserver.objects.resources import NAMESPACES, ApiResource
from bench.simulated.apiserver.objects.store import Backup, Event, Store
from bench.simulated.client import ApiAccess, write_kubeconfig
from bench.simulated.specs import timestamp
from bench.simulated.starting import Startable

_T = TypeVar("_T")
_CALL_TIMEOUT_S = 30.0
_FIRST_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


class ApiServer(Startable):
    """A running API server; use it as a context manager, or call `start` and `stop`.

    Args:
        port: TCP port on 127.0.0.1; 0 takes a free one.
        bookmark_interval_s: seconds between the bookmarks of a watch.
        extra: paths that are no part of Kubernetes' API, and what makes the JSON answer from a request's body; called
            in the server's loop.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        bookmark_interval_s: float = 5.0,
        extra: Mapping[str, Callable[[bytes], bytes]] | None = None,
    ) -> None:
        self._wanted_port = port
        self._loop = asyncio.new_event_loop()
        self._store = Store()
        self._hub = Hub(self._store, bookmark_interval_s, self._loop)
        self._registry = Registry(self._store, self._hub.publish)
        self._lister = Lister(self._store)
        self._hub.handler = Handler(self._registry, self._lister, _moment, timestamp, extra or {})
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._run, name="simulated-apiserver", daemon=True)
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen and serve.

        Raises:
            OSError: the port is taken.
        """
        for name in _FIRST_NAMESPACES:
            self._registry.create(NAMESPACES, "", {"metadata": {"name": name}}, _moment())
        self._server = self._loop.run_until_complete(
            self._loop.create_server(lambda: ClientConnection(self._hub), "127.0.0.1", self._wanted_port, backlog=1024)
        )
        self.port = self._server.sockets[0].getsockname()[1]
        self._hub.send_bookmarks()
        self._thread.start()

    def stop(self) -> None:
        """Cut every connection and end the thread; a second call does nothing."""
        if self._loop.is_closed():
            return
        if self._thread.is_alive():
            self._call(self._shut)
            self._thread.join(_CALL_TIMEOUT_S)
        self._loop.close()

    def write_kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig for this server and return its path."""
        return write_kubeconfig(path, ApiAccess(self.url))

    def put(self, resource: ApiResource, body: dict[str, Any]) -> None:
        """Store an object as it is, without the rules for new ones; before `start`, or in the server's loop."""
        metadata = body["metadata"]
        key = f"{metadata['namespace']}/{metadata['name']}" if resource.namespaced else metadata["name"]
        self._hub.publish(resource, self._store.put(resource, key, body))

    def show(self, resource: ApiResource, events: Iterable[Event]) -> None:
        """Send events of objects that are not stored to the open watches; in the server's loop."""
        for event in events:
            self._hub.publish(resource, event)

    def take_revisions(self, count: int) -> int:
        """Skip so many revisions, for events to `show`, and return the last one before them; in the server's loop."""
        before = self._store.revision
        self._store.revision += count
        return before

    def pause(self) -> None:
        """Stop answering; requests and events wait until `resume`."""
        self._call(lambda: setattr(self._hub, "paused", True))

    def resume(self) -> None:
        """Answer again, beginning with the requests that came meanwhile."""
        self._call(self._resume)

    def compact(self) -> None:
        """Forget the history and every page: watches from older revisions and continue tokens get 410."""
        self._call(self._store.compact)
        self._call(self._lister.expire_tokens)

    def backup(self) -> Backup:
        """Everything that is stored now."""
        return self._call(self._store.backup)

    def restore(self, backup: Backup, *, bump: int = 0) -> None:
        """Stop, go back to a backup and start again, as after `etcdutl snapshot restore --bump-revision`.

        Every connection is cut. Objects have the revisions that they had; watches from before the new revision get 410,
        and those from a revision that is not there yet are silent until it is.
        """
        self._call(lambda: self._restore(backup, bump))

    def inject(self, fault: Fault) -> None:
        """Order a fault for requests to come."""
        self._call(lambda: self._hub.faults.pending.append(fault))

    @property
    def late(self) -> int:
        """Requests that a fault holds up before they are carried out."""
        return self._hub.late

    def heal(self) -> None:
        """Forget the faults that are still ordered."""
        self._call(self._hub.faults.pending.clear)

    def requests(self) -> list[str]:
        """The latest requests as `METHOD /path`, oldest first."""
        return self._call(lambda: list(self._hub.seen))

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _call(self, work: Callable[[], _T]) -> _T:
        """Run `work` in the server's loop and return what it returns."""
        done: Future[_T] = Future()

        def run() -> None:
            try:
                done.set_result(work())
            except BaseException as error:  # noqa: BLE001 - handed on to the caller's thread
                done.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        return done.result(_CALL_TIMEOUT_S)

    def _resume(self) -> None:
        self._hub.paused = False
        for connection in list(self._hub.connections):
            connection.pump()

    def _restore(self, backup: Backup, bump: int) -> None:
        self._store.restore(backup, bump=bump)
        self._lister.expire_tokens()
        for connection in list(self._hub.connections):
            connection.reset()

    def _shut(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in list(self._hub.connections):
            connection.reset()
        self._loop.call_soon(self._loop.stop)


def _moment() -> Moment:
    fresh = uuid.uuid4()
    return Moment(now=timestamp(), uid=str(fresh), suffix=fresh.hex[:5])
