"""What the proxy does to a request as a whole: refuse, lose, delay, lie, drip, or answer something else."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from bench.simulated.apiserver.http11 import HttpRequest
from tests.chaos.proxy.exchange import Answer, Cut, Exchange, WatchRelay, status_body

HTML = b"<html><head><title>default backend - 404</title></head><body>not here</body></html>"


def is_watch(request: HttpRequest) -> bool:
    """Whether a request opens a watch."""
    return request.query.get("watch") in ("true", "1")


class Fault:
    """Nothing happens; what a fault does not override goes on as usual."""

    def handle(self, exchange: Exchange) -> None:
        """Deal with one request.

        Raises:
            Cut: the connection is over.
        """
        if is_watch(exchange.request):
            exchange.relay_watch()
        else:
            exchange.reply(exchange.carry_out())

    def tick(self, stream: WatchRelay) -> None:
        """Called often while a watch is open."""
        stream.release()

    def lines(self, stream: WatchRelay, line: bytes) -> Iterator[bytes]:
        """What the client gets instead of a line of a watch."""
        del stream
        yield line


@dataclass(frozen=True, slots=True)
class Replies(Fault):
    """Something else is answered; a watch that is open ends.

    Args:
        answer: what.
        carried_out: whether the request is carried out before, in truth.
    """

    answer: Answer
    carried_out: bool = False

    def handle(self, exchange: Exchange) -> None:
        """Answer."""
        if self.carried_out:
            exchange.carry_out()
        exchange.reply(self.answer)

    def tick(self, stream: WatchRelay) -> None:
        """End it: the next one gets the answer."""
        stream.over = True


def replies(code: int, reason: str, *, carried_out: bool = False, retry_after_s: int | None = None) -> Replies:
    """A failure Status is answered."""
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    body = status_body(code, reason, f"{reason} by order of the test")
    return Replies(Answer(code, body, headers=headers), carried_out)


def replies_html(code: int) -> Replies:
    """A page is answered, as from a load balancer."""
    return Replies(Answer(code, HTML, "text/html"))


@dataclass(frozen=True, slots=True)
class Truncates(Fault):
    """Half of the answer arrives, then the connection ends; also in the middle of a watch's line.

    Args:
        resets: whether it ends with a reset, else it is closed.
    """

    resets: bool = True

    def handle(self, exchange: Exchange) -> None:
        """Send half of it."""
        if is_watch(exchange.request):
            exchange.relay_watch()
            return
        data = exchange.carry_out().rendered()
        exchange.send(data[: len(data) // 2])
        self._end(exchange)

    def lines(self, stream: WatchRelay, line: bytes) -> Iterator[bytes]:
        """Send half of it, then end."""
        yield line[: len(line) // 2]
        self._end(stream.exchange)

    def _end(self, exchange: Exchange) -> None:
        if self.resets:
            exchange.reset()
        raise Cut


@dataclass(frozen=True, slots=True)
class Pages(Fault):
    """Lists come in short pages, whatever the client asked for; one that wants all at once gets all.

    Args:
        limit: objects in a page.
        expires: share of the later pages that are answered with 410.
        seed: of which.
    """

    limit: int = 5
    expires: float = 0.0
    seed: int = 0
    _draws: random.Random = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_draws", random.Random(self.seed))

    def handle(self, exchange: Exchange) -> None:
        """Ask for less."""
        query = exchange.request.query
        if "limit" in query:
            exchange.request = replace(exchange.request, query={**query, "limit": str(self.limit)})
        if "continue" in query and self._draws.random() < self.expires:
            replies(410, "Expired").handle(exchange)
        else:
            Fault.handle(self, exchange)


class Loses(Fault):
    """The request is carried out and the answer never comes: the connection is closed."""

    def handle(self, exchange: Exchange) -> None:
        """Carry it out, and say nothing."""
        if not is_watch(exchange.request):
            exchange.carry_out()
        raise Cut


@dataclass(frozen=True, slots=True)
class CarriesOutLate(Fault):
    """The request is carried out after a while, whether or not the client still waits.

    Args:
        by_s: how much later.
    """

    by_s: float

    def handle(self, exchange: Exchange) -> None:
        """Wait, then go on."""
        exchange.wait(self.by_s)
        Fault.handle(self, exchange)


@dataclass(frozen=True, slots=True)
class AnswersLate(Fault):
    """The request is carried out at once, and the answer takes its time.

    Args:
        by_s: how much later it comes.
    """

    by_s: float

    def handle(self, exchange: Exchange) -> None:
        """Carry it out, wait, answer."""
        if is_watch(exchange.request):
            exchange.relay_watch()
            return
        answer = exchange.carry_out()
        exchange.wait(self.by_s)
        exchange.reply(answer)


@dataclass(frozen=True, slots=True)
class Drips(Fault):
    """The answer comes a few bytes at a time.

    Args:
        bytes_at_once: how many.
        pause_s: between them.
    """

    bytes_at_once: int = 40
    pause_s: float = 0.05

    def handle(self, exchange: Exchange) -> None:
        """Send it slowly."""
        if is_watch(exchange.request):
            exchange.relay_watch()
            return
        for part in self._parts(exchange.carry_out().rendered()):
            exchange.send(part)
            exchange.wait(self.pause_s)

    def lines(self, stream: WatchRelay, line: bytes) -> Iterator[bytes]:
        """Send it slowly, as long as this fault is in force."""
        parts = self._parts(line)
        for part in parts:
            yield part
            if stream.exchange.current() is not self:
                break
            stream.exchange.wait(self.pause_s)
        yield from parts

    def _parts(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), self.bytes_at_once):
            yield data[start : start + self.bytes_at_once]


@dataclass(frozen=True, slots=True)
class Stalls(Fault):
    """Nothing goes on while this is in force; what was carried out before or is sent later is not lost.

    Args:
        carries_out: whether the request itself still reaches the API server.
    """

    carries_out: bool = False

    def handle(self, exchange: Exchange) -> None:
        """Wait until it is over, then answer whoever is still there."""
        answer = exchange.carry_out() if self.carries_out and not is_watch(exchange.request) else None
        while exchange.current() is self:
            exchange.wait(0.05)
        if answer is None:
            Fault.handle(self, exchange)
        else:
            exchange.reply(answer)

    def tick(self, stream: WatchRelay) -> None:
        """Keep what is held."""

    def lines(self, stream: WatchRelay, line: bytes) -> Iterator[bytes]:
        """Hold it."""
        stream.held.append(line)
        yield from ()


class Dies(Fault):
    """A connection goes silent and stays so, also when the fault is over; whatever it was for is not carried out."""

    def handle(self, exchange: Exchange) -> None:
        """Say nothing any more."""
        while True:
            exchange.wait(1.0)

    def tick(self, stream: WatchRelay) -> None:
        """Say nothing any more."""
        self.handle(stream.exchange)


@dataclass(frozen=True, slots=True)
class Garbles(Fault):
    """Random bytes come: instead of an answer, as its body, or as a line of a watch.

    Args:
        seed: of the bytes.
    """

    seed: int = 0
    _draws: random.Random = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_draws", random.Random(self.seed))

    def handle(self, exchange: Exchange) -> None:
        """Send rubbish; the request is not carried out."""
        if is_watch(exchange.request) and self._draws.random() < 0.7:
            exchange.relay_watch()
            return
        noise = self._draws.randbytes(200)
        if self._draws.random() < 0.5:
            exchange.send(noise)
            raise Cut
        exchange.reply(Answer(200, noise))

    def lines(self, stream: WatchRelay, line: bytes) -> Iterator[bytes]:
        """Put a line of rubbish before it."""
        del stream
        if self._draws.random() < 0.3:
            yield self._draws.randbytes(60).replace(b"\n", b"") + b"\n"
        yield line


@dataclass(frozen=True, slots=True)
class Chooses(Fault):
    """Each request meets one of several faults, by chance.

    Args:
        faults: them, all as likely.
        seed: of the choice.
    """

    faults: tuple[Fault, ...]
    seed: int = 0
    _draws: random.Random = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_draws", random.Random(self.seed))

    def handle(self, exchange: Exchange) -> None:
        """Choose one."""
        self._one().handle(exchange)

    def lines(self, stream: WatchRelay, line: bytes) -> Iterator[bytes]:
        """Choose one."""
        yield from self._one().lines(stream, line)

    def _one(self) -> Fault:
        return self._draws.choice(self.faults)
