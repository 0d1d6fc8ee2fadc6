"""Reads requests from the simulated API server's sockets, writes the answers, and feeds the watches.

Everything here runs in one event loop, so requests are carried out one after the other and no lock is needed.
"""

import asyncio
import socket
import struct
from collections import deque
from typing import cast

from bench.simulated.apiserver import http11
from bench.simulated.apiserver.faults import Fault, FaultPlan
from bench.simulated.apiserver.handling import Handler, HttpAnswer
from bench.simulated.apiserver.objects.resources import ApiResource
from bench.simulated.apiserver.objects.statuses import StatusError, expired
from bench.simulated.apiserver.objects.store import CompactedError, Event, Store
from bench.simulated.apiserver.watching import Watch, bookmark_line, error_line, event_line

_LONGEST_WATCH_S = 1800.0
_BACKLOG_BYTES = 256 * 1024 * 1024
"""Unread bytes at which a slow watcher is cut off."""


class Hub:
    """What all connections of one server share: the handler, the faults, and the open watches."""

    def __init__(self, store: Store, bookmark_interval_s: float, loop: asyncio.AbstractEventLoop) -> None:
        self.store = store
        self._bookmark_interval_s = bookmark_interval_s
        self.loop = loop
        self.faults = FaultPlan()
        self.paused = False
        self.late = 0
        self.seen: deque[str] = deque(maxlen=100_000)
        self.connections: set[ClientConnection] = set()
        self.handler: Handler | None = None
        self._streams: dict[ApiResource, list[Stream]] = {}

    def publish(self, resource: ApiResource, event: Event) -> None:
        """Hand an event to every watch of its resource."""
        lines: dict[ApiResource, bytes] = {}
        for stream in self._streams.get(resource, ()):
            if event.revision <= stream.after:
                continue  # it watches from a revision that is not there yet, after a restore
            shown = stream.watch.resource
            if shown not in lines:
                lines[shown] = event_line(shown, event.type, event.record)
            line = stream.watch.line(event, lines[shown])
            if line is not None:
                stream.push(line)

    def open(self, stream: "Stream") -> None:
        """Let a watch receive events from now on."""
        self._streams.setdefault(stream.watch.resource, []).append(stream)

    def close(self, stream: "Stream") -> None:
        """Stop feeding a watch."""
        streams = self._streams.get(stream.watch.resource, [])
        if stream in streams:
            streams.remove(stream)

    def send_bookmarks(self) -> None:
        """Send bookmarks to the watches that asked for them, then schedule the next ones."""
        if not self.paused:
            for stream in [stream for streams in self._streams.values() for stream in streams]:
                if stream.watch.options.bookmarks and self.store.revision >= stream.after:
                    stream.push(bookmark_line(stream.watch.resource, self.store.revision))
        self.loop.call_later(self._bookmark_interval_s, self.send_bookmarks)


class ClientConnection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._reader = http11.RequestReader()
        self._requests: deque[http11.HttpRequest] = deque()
        self._busy = False
        self.stream: Stream | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self.transport = cast("asyncio.Transport", transport)
        self._hub.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has disconnected; `exc` does not matter here."""
        del exc
        self._hub.connections.discard(self)
        if self.stream is not None:
            self.stream.end(politely=False)

    def data_received(self, data: bytes) -> None:
        """Read requests and serve them."""
        if self.transport is None:
            return
        try:
            self._requests.extend(self._reader.feed(data))
        except StatusError as error:
            self.transport.write(http11.render(error.code, error.body(), keep_alive=False))
            self.transport.close()
            return
        if self._reader.awaits_continue:
            self.transport.write(http11.CONTINUE)
        self.pump()

    def pump(self) -> None:
        """Serve the requests that wait, unless the server is paused or this connection is busy."""
        while self._requests and self.transport is not None and not self.transport.is_closing():
            if self._hub.paused or self._busy or self.stream:
                return
            self._serve(self._requests.popleft())

    def _serve(self, request: http11.HttpRequest) -> None:
        hub = self._hub
        if hub.handler is None:
            raise RuntimeError("a request came before the server was complete")
        hub.seen.append(f"{request.method} {request.path}")
        fault = hub.faults.take(request) or Fault()
        if fault.late_s:
            self._busy = True
            hub.late += 1
            hub.loop.call_later(fault.late_s, self._answer, request, fault, hub.handler)
        else:
            self._answer(request, fault, hub.handler)

    def _answer(self, request: http11.HttpRequest, fault: Fault, handler: Handler) -> None:
        """Carry a request out and answer it, as the fault says."""
        self._hub.late -= bool(fault.late_s)
        answer: HttpAnswer | Watch | None = None
        if not fault.status or fault.carried_out:
            answer = handler.handle(request)
        if fault.status:
            error = StatusError(fault.status, f"fault ordered for {request.method} {request.path}")
            answer = HttpAnswer(error.code, fault.body or error.body())
        self._busy = False
        if self.transport is None or answer is None or self.transport.is_closing():
            return
        if isinstance(answer, Watch):
            self._watch(answer, self.transport)
            return
        data = http11.render(answer.code, answer.body, content_type=answer.content_type, keep_alive=request.keep_alive)
        if fault.cut:
            self.transport.write(data[: len(data) - len(answer.body) // 2])
            self.transport.close()
        elif fault.delay_s:
            self._busy = True
            self._hub.loop.call_later(fault.delay_s, self._finish, data, request.keep_alive)
        else:
            self._finish(data, request.keep_alive)

    def _finish(self, data: bytes, keep_alive: bool) -> None:  # noqa: FBT001 - called by call_later, which takes positions only
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        transport.write(data)
        if not keep_alive:
            transport.close()
        if self._busy:
            self._busy = False
            self.pump()

    def reset(self) -> None:
        """Cut the connection so that the client sees a reset."""
        transport = self.transport
        if transport is None:
            return
        held: socket.socket | None = transport.get_extra_info("socket")
        if held is not None:
            # Linger of 0 seconds makes close() send RST.
            held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    def _watch(self, watch: Watch, transport: asyncio.Transport) -> None:
        stream = Stream(self._hub, self, watch)
        try:
            lines = stream.first_lines()
        except CompactedError as error:
            line = error_line(expired(error.requested, error.oldest))
            transport.write(http11.WATCH_HEAD + http11.chunk(line) + http11.LAST_CHUNK)
            return
        self.stream = stream
        transport.write(http11.WATCH_HEAD)
        self._hub.open(stream)
        for line in lines:
            stream.push(line)
        seconds = watch.options.timeout_s or _LONGEST_WATCH_S
        stream.timer = self._hub.loop.call_later(seconds, stream.end)


class Stream:
    """One open watch: gathers lines and writes them in few chunks."""

    def __init__(self, hub: Hub, connection: ClientConnection, watch: Watch) -> None:
        self.watch = watch
        self.after = int(watch.options.resource_version or "0")
        self.timer: asyncio.TimerHandle | None = None
        self._hub = hub
        self._connection = connection
        self._pending: list[bytes] = []

    def first_lines(self) -> list[bytes]:
        """What the client must see before live events: the present state, or all since its revision.

        Raises:
            CompactedError: its revision has left the history.
        """
        watch, store = self.watch, self._hub.store
        resource, options = watch.resource, watch.options
        if options.resource_version in ("", "0"):
            return [
                event_line(resource, "ADDED", record)
                for record in store.records(resource, watch.namespace)
                if watch.selector.matches(record.fields, record.labels)
            ]
        events = store.events_after(resource, int(options.resource_version))
        found = (watch.line(event, event_line(resource, event.type, event.record)) for event in events)
        return [line for line in found if line is not None]

    def push(self, line: bytes) -> None:
        """Queue a line; lines of one turn of the loop leave in one chunk."""
        if not self._pending:
            self._hub.loop.call_soon(self._flush)
        self._pending.append(line)

    def _flush(self) -> None:
        transport = self._connection.transport
        if not self._pending or transport is None or transport.is_closing():
            return
        transport.write(http11.chunk(b"".join(self._pending)))
        self._pending.clear()
        if transport.get_write_buffer_size() > _BACKLOG_BYTES:
            self._connection.reset()

    def end(self, *, politely: bool = True) -> None:
        """Close the watch; `politely` leaves the connection open for the next request."""
        self._hub.close(self)
        if self.timer is not None:
            self.timer.cancel()
        connection = self._connection
        connection.stream = None
        if politely and connection.transport is not None and not connection.transport.is_closing():
            self._flush()
            connection.transport.write(http11.LAST_CHUNK)
            connection.pump()
