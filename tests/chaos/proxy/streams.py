"""What the proxy does to an open watch: duplicate, reorder, halve or end it."""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.chaos.proxy.exchange import WatchRelay
from tests.chaos.proxy.faults import Fault

_REMEMBERED = 200


@dataclass(frozen=True, slots=True)
class Duplicates(Fault):
    """Events come twice, and now and then one from long ago comes again.

    Args:
        seed: of what is repeated.
    """

    seed: int = 0
    _draws: random.Random = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_draws", random.Random(self.seed))

    def lines(self, stream: WatchRelay, line: bytes) -> Iterator[bytes]:
        """The event, again, and an old one."""
        stream.seen.append(line)
        del stream.seen[:-_REMEMBERED]
        yield line
        yield line
        if self._draws.random() < 0.5:
            yield self._draws.choice(stream.seen)


@dataclass(frozen=True, slots=True)
class Reorders(Fault):
    """Events are held back and sent in another order, those of one object too.

    Args:
        window: how many at most.
        seed: of the order.
    """

    window: int = 6
    seed: int = 0
    _draws: random.Random = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_draws", random.Random(self.seed))

    def tick(self, stream: WatchRelay) -> None:
        """Keep what is held."""

    def lines(self, stream: WatchRelay, line: bytes) -> Iterator[bytes]:
        """All that was held, in another order, once there is enough of it."""
        stream.held.append(line)
        if len(stream.held) >= self._draws.randint(1, self.window):
            held, stream.held = stream.held, []
            self._draws.shuffle(held)
            yield from held


@dataclass(frozen=True, slots=True)
class HalvesLines(Fault):
    """A line is cut in half: the watch ends properly there, or goes on with the next line.

    Args:
        share: of the lines.
        seed: of which.
    """

    share: float = 0.3
    seed: int = 0
    _draws: random.Random = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_draws", random.Random(self.seed))

    def lines(self, stream: WatchRelay, line: bytes) -> Iterator[bytes]:
        """Half of it, or all."""
        if self._draws.random() >= self.share:
            yield line
        elif self._draws.random() < 0.5:
            yield line[: len(line) // 2] + b"\n"
        else:
            stream.over = True
            yield line[: len(line) // 2]


@dataclass(frozen=True, slots=True)
class Drops(Fault):
    """Events vanish, then the watch ends as expired, so that only a list tells what they were.

    Args:
        after_s: when the watch ends.
    """

    after_s: float = 0.5

    def tick(self, stream: WatchRelay) -> None:
        """End it with the event that says that its version is too old."""
        if time.monotonic() - stream.opened_s >= self.after_s:
            stream.expire()

    def lines(self, stream: WatchRelay, line: bytes) -> Iterator[bytes]:
        """Nothing of it."""
        del line
        stream.lossy = True
        yield from ()


@dataclass(frozen=True, slots=True)
class Lags(Fault):
    """Every event of a watch comes late, as from an API server whose cache is behind.

    Args:
        by_s: how much later.
    """

    by_s: float

    def tick(self, stream: WatchRelay) -> None:
        """Send what has waited long enough."""
        due = 0
        while due < len(stream.held_s) and time.monotonic() - stream.held_s[due] >= self.by_s:
            stream.send(stream.held[due])
            due += 1
        del stream.held[:due], stream.held_s[:due]

    def lines(self, stream: WatchRelay, line: bytes) -> Iterator[bytes]:
        """Keep it for a while."""
        stream.held.append(line)
        stream.held_s.append(time.monotonic())
        yield from ()


@dataclass(frozen=True, slots=True)
class Ends(Fault):
    """Each watch ends properly after a short time.

    Args:
        after_s: how long it lives.
    """

    after_s: float = 1.0

    def tick(self, stream: WatchRelay) -> None:
        """End it when its time has come."""
        stream.release()
        stream.over = stream.over or time.monotonic() - stream.opened_s >= self.after_s
