"""Events reach the API server, equal ones are counted, and nobody waits for them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.simulated.apiserver.faults import Fault
from bench.simulated.waiting import wait_until as until
from device_plugin.eventing import Events
from tests.device_plugin.apiside import ApiSide, api_side
from tests.device_plugin.builders import pod


@pytest.fixture
def side(tmp_path: Path) -> Iterator[ApiSide]:
    """An API server."""
    with api_side(tmp_path) as found:
        yield found


@contextmanager
def writing(side: ApiSide) -> Iterator[Events]:
    """Events whose thread runs."""
    events, stop = Events(side.api, "n1"), threading.Event()
    thread = threading.Thread(target=events.run, args=(stop,))
    thread.start()
    try:
        yield events
    finally:
        stop.set()
        events.wake()
        thread.join(10.0)
        assert not thread.is_alive()


def test_what_is_said_again_is_counted(side: ApiSide) -> None:
    """One Event for the node, and another one for another message."""
    with writing(side) as events:
        for text in ("GPU-a is not used", "GPU-a is not used", "GPU-b is not used"):
            events.about_node("Warning", "GPUUnhealthy", text)
        until(lambda: len(side.said("n1")) == 2)
    assert side.said("n1") == [
        ("Warning", "GPUUnhealthy", "GPU-a is not used", 2),
        ("Warning", "GPUUnhealthy", "GPU-b is not used", 1),
    ]
    (first, *_) = side.events("n1")
    assert first["involvedObject"] == {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "n1"}
    assert first["source"] == {"component": "gpupack-device-plugin", "host": "n1"}


def test_a_pods_event_names_its_uid_and_namespace(side: ApiSide) -> None:
    """So `kubectl describe pod` shows it, and not for the next pod of that name."""
    with writing(side) as events:
        events.about_pod(pod("p"), "Normal", "GPUHealthy", "is used again")
        until(lambda: bool(side.said("p")))
    about = side.events("p")[0]["involvedObject"]
    assert about == {"apiVersion": "v1", "kind": "Pod", "namespace": "default", "name": "p", "uid": "uid-p"}


def test_an_event_that_is_gone_is_written_anew(side: ApiSide) -> None:
    """The API server keeps them for an hour."""
    with writing(side) as events:
        events.about_node("Normal", "R", "text")
        until(lambda: len(side.said("n1")) == 1)
        side.client.request("DELETE", f"/api/v1/namespaces/default/events/{side.events('n1')[0]['metadata']['name']}")
        events.about_node("Normal", "R", "text")
        until(lambda: side.said("n1") == [("Normal", "R", "text", 1)])


def test_a_failing_api_server_is_tried_again_and_a_refusal_is_not(side: ApiSide) -> None:
    """What comes after a refused one is still written."""
    side.server.inject(Fault(method="POST", path="/events", status=403))
    with writing(side) as events:
        events.about_node("Normal", "Refused", "text")
        events.about_node("Normal", "Next", "text")
        until(lambda: bool(side.said("n1")))
        side.server.inject(Fault(method="POST", path="/events", status=500))
        events.about_node("Normal", "Later", "text")
        until(lambda: len(side.said("n1")) == 2)
    assert [reason for _, reason, _, _ in side.said("n1")] == ["Next", "Later"]


def test_more_news_than_can_be_written_drops_the_oldest(side: ApiSide) -> None:
    """And nobody waits."""
    events = Events(side.api, "n1")
    for number in range(300):
        events.about_node("Normal", "R", str(number))
    stop = threading.Event()
    thread = threading.Thread(target=events.run, args=(stop,))
    thread.start()
    until(lambda: len(side.said("n1")) == 256)
    stop.set()
    events.wake()
    thread.join(10.0)
    assert side.said("n1")[0][2] == "44"
