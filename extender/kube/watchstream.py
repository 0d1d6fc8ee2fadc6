"""Read one open watch line by line, and let any thread end it."""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from threading import Event, Lock
from typing import Protocol

import urllib3
from urllib3.exceptions import HTTPError

from extender.kube.errors import ApiUnreachable
from extender.kube.listing import ListSource

SILENCE_S = 80.0
"""A watch without a byte for this long is dead: bookmarks come about once a minute, and a view is stale after 120 s."""

DEFAULT_MAX_LINE_BYTES = 32 * 2**20
"""Far above what an API server stores (1.5 MiB an object by default); a bound all the same."""


class LineTooLongError(ValueError):
    """A line passed the bound; the message gives both sizes."""


class LineSplitter:
    """Collects blocks and gives out the lines that are complete, without their line ends; empty lines are dropped.

    Costs one join a line: a long line that comes in many blocks is not copied again and again.
    """

    def __init__(self, max_line_bytes: int = DEFAULT_MAX_LINE_BYTES) -> None:
        self._max_line_bytes = max_line_bytes
        self._parts: list[bytes] = []
        self._pending_bytes = 0

    @property
    def pending_bytes(self) -> int:
        """Size of the line that has begun and not ended."""
        return self._pending_bytes

    def feed(self, block: bytes) -> list[bytes]:
        """Take one block and return the lines that it completes, in order.

        Raises:
            LineTooLongError: the line that has begun is already longer than the bound.
        """
        *ends, rest = block.split(b"\n")
        lines = []
        for end in ends:
            line = b"".join((*self._parts, end)) if self._parts else end
            self._parts.clear()
            self._pending_bytes = 0
            if line.strip():
                lines.append(line)
        if rest:
            self._parts.append(rest)
            self._pending_bytes += len(rest)
        if self._pending_bytes > self._max_line_bytes:
            raise LineTooLongError(
                f"a line of more than {self._pending_bytes} bytes: at most {self._max_line_bytes} are accepted"
            )
        return lines


class Lines(Protocol):
    """One open watch, as `WatchStream` is."""

    def __next__(self) -> bytes:
        """The next line; StopIteration at the end."""

    @property
    def at_hand(self) -> bool:
        """Whether the next line is there without a wait."""

    def abort(self) -> None:
        """End the iteration from any thread."""

    def close(self) -> None:
        """Close the connection, from the reading thread."""


class Source(ListSource, Protocol):
    """Lists and watches, as `extender.kube.client.KubeApi` does."""

    def watch(self, path: str, resource_version: str, timeout_s: float, silence_s: float) -> Lines:
        """The changes after `resource_version`."""


BLOCK_BYTES = 64 * 2**10
"""At most so much is taken off the network at once."""


class WatchStream(Iterator[bytes]):
    """One open watch: each item is one line of JSON. One thread reads and closes it; any thread may abort it.

    Ends when the server ends the watch or after `abort`. `on_break` is called when the connection breaks or falls
    silent.

    Raises:
        ApiUnreachable: while iterating: the connection broke, fell silent, or ended in the middle of a line.
        LineTooLongError: while iterating: a line passed the bound.
    """

    def __init__(
        self,
        response: urllib3.HTTPResponse,
        max_line_bytes: int = DEFAULT_MAX_LINE_BYTES,
        on_break: Callable[[], None] = lambda: None,
    ) -> None:
        self._response = response
        self._on_break = on_break
        self._blocks = _blocks(response)
        self._splitter = LineSplitter(max_line_bytes)
        self._lines: deque[bytes] = deque()
        self._lock = Lock()
        self._aborted = Event()
        self._closed = False

    def __next__(self) -> bytes:
        if self._aborted.is_set():
            raise StopIteration
        while not self._lines:
            block = self._read_block()
            if not block:
                raise StopIteration
            self._lines.extend(self._splitter.feed(block))
        return self._lines.popleft()

    @property
    def at_hand(self) -> bool:
        """Whether the next line is there without a read."""
        return bool(self._lines)

    def _read_block(self) -> bytes:
        """Whatever has arrived, at least one byte; nothing at the end."""
        if self._aborted.is_set() or self._closed:
            return b""
        try:
            block = next(self._blocks, b"")
        except (HTTPError, OSError, ValueError) as error:
            if self._aborted.is_set():
                return b""
            self._on_break()
            raise ApiUnreachable(f"watch broke off: {error}", sent=True) from error
        if not block and self._splitter.pending_bytes and not self._aborted.is_set():
            raise ApiUnreachable(
                f"watch ended in the middle of a line, after {self._splitter.pending_bytes} bytes of it", sent=True
            )
        return block

    def abort(self) -> None:
        """Wake the reading thread and end the iteration; returns at once, may be called from any thread."""
        with self._lock:
            self._aborted.set()
            if not self._closed:
                # The connection may have ended by itself a moment ago: then there is nothing left to shut down.
                with suppress(OSError, ValueError, RuntimeError):
                    self._response.shutdown()

    def close(self) -> None:
        """Close the connection; only for the thread that reads."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._blocks.close()
        self._response.close()
        self._response.release_conn()


def _blocks(response: urllib3.HTTPResponse) -> Generator[bytes]:
    """What has arrived, as it arrives; a read waits for the chunk that has begun, never for another one."""
    if response.chunked:
        # An API server sends each event as a chunk. Half as much work for each of them as by way of `read1`.
        yield from response.read_chunked(BLOCK_BYTES)
    else:
        while block := response.read1(BLOCK_BYTES):
            yield block
