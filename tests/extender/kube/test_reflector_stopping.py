"""A list and watch loop ends when it is told to, whatever it waits for."""

import threading
from pathlib import Path

import pytest

from extender.kube.client import connect
from extender.kube.reflector import Reflector, ReflectorSettings
from tests.extender.api_calls import PODS
from tests.extender.worlds import World, world
from tests.fakes.api_server import (
    ApiServer,
    Exchange,
    event,
    kubeconfig_for,
    listing,
    pod,
    refusing,
    wait_until,
    watching,
)
from tests.fakes.reflecting import RecordingSink

LONG_S = 30.0
"""For what happens at once; what is waited for meanwhile would take longer."""


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reach the fake server directly, whatever proxy this machine uses."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_stop_ends_a_blocked_watch_at_once(tmp_path: Path) -> None:
    """Although the server says nothing, and may do so for much longer than the stop may take."""
    with world(tmp_path, reflector_settings=ReflectorSettings(silence_s=100 * LONG_S)) as here:
        stop_a_blocked_watch(here)


def stop_a_blocked_watch(here: World) -> None:
    """Stop while the watch waits for its second line."""
    here.server.on_list(listing(10, []))
    here.server.on_watch(watching(event("ADDED", pod("a", 11))))
    here.start()
    assert wait_until(lambda: "a" in here.sink.objects)
    assert here.reflector.stop(LONG_S)


def test_stop_ends_a_pause_at_once(tmp_path: Path) -> None:
    """Although the server asked for two minutes."""
    with ApiServer() as server:
        server.on_list(refusing(429, "TooManyRequests", {"Retry-After": "120"}))
        reflector = Reflector(connect(kubeconfig_for(server, tmp_path)), PODS, RecordingSink())
        reflector.start()
        assert wait_until(lambda: reflector.counts.failures == 1)
        assert reflector.stop(LONG_S)
        assert len(server.requests) == 1


def test_stop_does_not_wait_for_a_list_and_its_answer_is_dropped(here: World) -> None:
    """A stopped reflector no longer touches its sink."""
    answer = threading.Event()

    def late(exchange: Exchange) -> None:
        answer.wait(LONG_S)
        listing(10, [pod("a", 1)])(exchange)

    here.server.on_list(late)
    here.reflector.start()
    here.server.wait_for("list", 1)
    assert here.reflector.stop(0.05) is False
    answer.set()
    assert here.reflector.stop(LONG_S) is True
    assert here.sink.calls == []


def test_stop_before_start_is_harmless(here: World) -> None:
    """A program that fails while starting stops what it has."""
    assert here.reflector.stop(1.0) is True
