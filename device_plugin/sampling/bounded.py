"""Makes calls that may never return in a thread of their own, and gives up on them after a while.

Nothing can interrupt a call into a driver that hangs: its thread is stuck in it. So all others must not wait for it.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from device_plugin.gpus.gpu import GpuSample, GpuSource, GpuSourceClosedError, GpuSourceStalledError
from device_plugin.gpus.readings import GpuFacts, GpuReading, ReadingSource

_LOG = logging.getLogger(__name__)

T = TypeVar("T")

_CLOSING_S = 5.0
"""How much longer the call that lets the driver go may take: it waits for the thread that listens for XIDs."""


@dataclass(slots=True)
class _Call:
    """One call, and its outcome once `done` is set."""

    function: Callable[[], Any]
    began_s: float
    done: threading.Event = field(default_factory=threading.Event)
    result: Any = None
    error: BaseException | None = None

    def make(self) -> None:
        try:
            self.result = self.function()
        except BaseException as error:  # noqa: BLE001 - raised again where the result is waited for
            self.error = error
        finally:
            self.done.set()

    def outcome(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.result


class BoundedCalls:
    """Makes calls one after the other, in one thread.

    A call that has not returned in time is given up: its outcome is dropped when it does return, and until then all
    other calls fail at once. While it is shut, they fail, too.

    Args:
        name: who makes them, for the log, the metric and the name of the thread.
        limit_s: how long a call may take.
        clock_s: monotonic seconds.
    """

    def __init__(self, name: str, limit_s: float, clock_s: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self._limit_s = limit_s
        self._clock_s = clock_s
        self._one_at_a_time = threading.Lock()
        self._news = threading.Condition()
        self._waiting: deque[_Call] = deque()
        self._last: _Call | None = None
        self._has_ended = False
        self._thread: threading.Thread | None = None
        self.is_shut = False
        self.closing: Callable[[], None] = lambda: None
        """The call that lets the driver go."""

    def stalled_s(self) -> float:
        """How long a call has been overdue, from its beginning; 0 while none is."""
        last = self._last
        if last is None or last.done.is_set():
            return 0.0
        lasted_s = self._clock_s() - last.began_s
        return lasted_s if lasted_s >= self._limit_s else 0.0

    def call(self, function: Callable[[], T]) -> T:
        """What the function returns or raises, waited for no longer than the limit.

        Raises:
            GpuSourceStalledError: it does not return, or an earlier one has not.
            GpuSourceClosedError: it was not made, because the calls are shut.
        """

        def unless_shut() -> T:
            if self.is_shut:
                raise GpuSourceClosedError
            return function()

        return self._make(unless_shut)

    def shut(self) -> None:
        """Let the driver go, and make no calls until `reopen`.

        Raises:
            GpuSourceStalledError: a call does not return.
        """
        self.is_shut = True
        self._make(self.closing, _CLOSING_S)
        self.leave()

    def reopen(self) -> None:
        """Make calls again."""
        self.is_shut = False

    def end(self) -> None:
        """Let the driver go and end the thread; if it is stuck, it does that when it returns, or never."""
        try:
            self._make(self.closing, _CLOSING_S)
        except GpuSourceStalledError:
            _LOG.warning("a call into the driver (%s) does not return, and is not waited for", self.name)
            self._hand_over(_Call(self.closing, self._clock_s()))
        self.leave()

    def _make(self, function: Callable[[], T], more_s: float = 0.0) -> T:
        if not self._one_at_a_time.acquire(timeout=self._limit_s):
            raise GpuSourceStalledError
        try:
            last = self._last
            if last is not None and not last.done.is_set():
                raise GpuSourceStalledError
            self._last = made = _Call(function, self._clock_s())
            self._hand_over(made)
            if not made.done.wait(self._limit_s + more_s):
                _LOG.error("a call into the driver (%s) has not returned for %g s", self.name, self._limit_s + more_s)
                raise GpuSourceStalledError
            result: T = made.outcome()
            return result
        finally:
            self._one_at_a_time.release()

    def leave(self) -> None:
        """End the thread once it has made its calls; returns at once."""
        with self._news:
            self._has_ended = True
            self._news.notify()

    def _hand_over(self, made: _Call) -> None:
        with self._news:
            if self._thread is None:
                self._has_ended = False
                self._thread = threading.Thread(target=self._run, name=f"nvml-{self.name}", daemon=True)
                self._thread.start()
            self._waiting.append(made)
            self._news.notify()

    def _run(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._waiting or self._has_ended)
                if not self._waiting:
                    self._thread = None
                    return
                made = self._waiting.popleft()
            made.make()
            late_s = self._clock_s() - made.began_s - self._limit_s
            if late_s > 0:
                _LOG.warning("a call into the driver (%s) returned after %.0f s", self.name, late_s + self._limit_s)


@dataclass(frozen=True, slots=True)
class DriverCalls:
    """Those who call the driver, each in a thread of its own, so that one that is stuck does not hold up the others."""

    sampler: BoundedCalls
    meter: BoundedCalls
    enforcer: BoundedCalls

    def stalled_s(self) -> dict[str, float]:
        """How long a call of each has been overdue; 0 while none is."""
        return {each.name: each.stalled_s() for each in self.all}

    @property
    def all(self) -> tuple[BoundedCalls, ...]:
        """Each of them."""
        return self.sampler, self.meter, self.enforcer

    def leave(self) -> None:
        """End their threads; returns at once."""
        for each in self.all:
            each.leave()

    def shut(self) -> None:
        """Let the driver go, so that the plugin does not use it at all, and call it no more.

        Raises:
            GpuSourceStalledError: a call does not return.
        """
        for each in self.all:
            each.shut()

    def reopen(self) -> None:
        """Call the driver again."""
        for each in self.all:
            each.reopen()

    def problem(self) -> str:
        """Whose calls are overdue, in words that do not change meanwhile; empty when nobody's are."""
        names = [name for name, stalled_s in self.stalled_s().items() if stalled_s]
        return f"calls into the driver have not returned for a while: {', '.join(names)}" if names else ""


def driver_calls(limit_s: float) -> DriverCalls:
    """Calls that may take so long."""
    return DriverCalls(*(BoundedCalls(name, limit_s) for name in ("sampler", "meter", "enforcer")))


class BoundedSource:
    """A `GpuSource` that does not hang when the one behind it does."""

    def __init__(self, source: GpuSource, calls: BoundedCalls) -> None:
        self._source = source
        self._calls = calls
        calls.closing = source.close

    def sample(self) -> tuple[GpuSample, ...]:
        """Every GPU.

        Raises:
            GpuSourceError: no GPU can be read; GpuSourceStalledError when that takes too long.
        """
        return self._calls.call(self._source.sample)

    def close(self) -> None:
        """Release what the source holds, unless it hangs."""
        self._calls.end()


class BoundedReader:
    """A `ReadingSource` that does not hang when the one behind it does."""

    def __init__(self, source: ReadingSource, calls: BoundedCalls) -> None:
        self._source = source
        self._calls = calls
        calls.closing = source.close

    def read(self) -> tuple[GpuReading, ...]:
        """A reading of every GPU.

        Raises:
            GpuSourceError: no GPU can be read; GpuSourceStalledError when that takes too long.
        """
        return self._calls.call(self._source.read)

    def facts(self) -> tuple[GpuFacts, ...]:
        """The facts about all GPUs that were read so far: nobody is asked for them."""
        return self._source.facts()

    def close(self) -> None:
        """Release what the source holds, unless it hangs."""
        self._calls.end()
