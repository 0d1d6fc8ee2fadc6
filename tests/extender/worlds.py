"""A reflector that watches a scripted API server, with a clock that stands and pauses that take no time."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from extender.kube.client import connect
from extender.kube.reflector import Reflector, ReflectorSettings
from tests.extender.api_calls import PODS
from tests.fakes.api_server import ApiServer, Exchange, Step, kubeconfig_for, wait_until
from tests.fakes.reflecting import InstantEvent, RecordingSink, StandingClock

SETTINGS = ReflectorSettings(page_size=2, list_timeout_s=30.0, silence_s=30.0)
LOGGER = "extender.kube.reflector"


@dataclass
class World:
    """A reflector that watches a scripted server; the test scripts the server, then starts the reflector."""

    server: ApiServer
    reflector: Reflector[bytes]
    sink: RecordingSink
    clock: StandingClock
    stopping: InstantEvent

    def start(self) -> None:
        """Start, and wait for the first full list in the sink."""
        self.reflector.start()
        assert self.reflector.wait_synced(30.0)

    def versions(self) -> list[str]:
        """The version that each watch so far asked to go on from."""
        return [request.query["resourceVersion"] for request in self.server.of("watch")]

    def until_watch(self, count: int) -> None:
        """Wait for the watch number `count`: everything before it has been handled then."""
        self.server.wait_for("watch", count)


@contextmanager
def world(
    directory: Path, sink: RecordingSink | None = None, reflector_settings: ReflectorSettings = SETTINGS
) -> Iterator[World]:
    """A world with a clock that stands and pauses that take no time, whatever proxy this machine uses."""
    clock, stopping = StandingClock(), InstantEvent()
    sink = sink if sink is not None else RecordingSink()
    with pytest.MonkeyPatch.context() as environment, ApiServer() as server:
        environment.setenv("NO_PROXY", "127.0.0.1")
        environment.setenv("no_proxy", "127.0.0.1")
        api = connect(kubeconfig_for(server, directory))
        reflector = Reflector(
            api,
            PODS,
            sink,
            settings=reflector_settings,
            clock=clock,
            draws=random.Random(7),
            stopping=stopping,
        )
        yield World(server, reflector, sink, clock, stopping)
        assert reflector.stop(30.0)
        api.close()


def logged(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    """The reflector's messages of one level."""
    return [record.getMessage() for record in caplog.records if record.name == LOGGER and record.levelno == level]


def later(here: World, seconds: float, step: Step, opened: int = 0) -> Step:
    """`step` after some time of the standing clock, once `opened` watches have been opened."""

    def delayed(exchange: Exchange) -> None:
        assert wait_until(lambda: here.reflector.counts.watches >= opened)
        here.clock.advance(seconds)
        step(exchange)

    return delayed
