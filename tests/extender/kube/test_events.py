"""Events reach the API server, equal ones are counted, at a bounded rate, and nobody waits for them."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from extender.kube.errors import ApiError, ApiUnreachable
from extender.kube.events import BURST, LONGEST_MESSAGE, MAX_TRIES, PATIENCE_S, QUIET_S, EventRecorder, News, node_news
from extender.kube.retries import Backoff
from tests.fakes.events_api import EventsApi
from tests.fakes.reflecting import StandingClock
from tests.fakes.refusals import refused

ONCE_S = 30.0
SOON = Backoff(first_s=0.001, last_s=0.002)


def news(name: str = "train", message: str = "Does not fit.") -> News:
    """A refusal."""
    return News("team", name, f"uid-{name}", "Warning", "GpupackUnplaceable", message)


@contextmanager
def writing(
    api: EventsApi,
    *,
    per_s: float = 1000.0,
    limit: int = 100,
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], str] = lambda: "2026-01-31T12:00:00Z",
) -> Iterator[EventRecorder]:
    """Events whose thread runs."""
    events = EventRecorder(
        api, component="gpupack-extender", host="here", now=now, clock=clock, per_s=per_s, limit=limit, backoff=SOON
    )
    events.start()
    try:
        yield events
    finally:
        api.gate.set()
        events.stop(ONCE_S)


def until(condition: Callable[[], object]) -> None:
    """Wait until it holds; fail when it does not in time."""
    deadline_s = time.monotonic() + ONCE_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.002)


def said(api: EventsApi) -> list[tuple[Any, ...]]:
    """What the Events say and how often."""
    return [
        (event["involvedObject"]["name"], event["reason"], event["message"], event["count"])
        for event in list(api.events.values())
    ]


def test_a_bug_met_by_one_event_does_not_silence_the_others() -> None:
    """It is logged, counted as failed, and the next one is written."""
    api = EventsApi()
    api.troubles.append(KeyError("a bug"))
    with writing(api) as events:
        events.put(news("first"))
        until(lambda: events.counts()["failed"] == 1)
        events.put(news("second"))
        until(lambda: events.counts()["written"] == 1)
    assert [name for name, *_ in said(api)] == ["second"]


def test_what_is_said_once_is_there_once_whoever_says_it() -> None:
    """Two replicas, or one before and after a restart; the second counts it as written."""
    api = EventsApi()
    once = replace(news(), once=True)
    with writing(api) as first, writing(api) as second:
        first.put(once)
        second.put(once)
        until(lambda: (first.counts()["written"], second.counts()["written"]) == (1, 1))
        assert (first.counts()["refused"], second.counts()["refused"]) == (0, 0)
    with writing(api) as events:
        events.put(replace(once, reason="GpupackOther"))
        events.put(replace(once, uid="uid-of-the-next-pod-of-that-name"))
        until(lambda: events.counts()["written"] == 2)
    assert [name for name, *_ in said(api)] == ["train"] * 3


def test_a_name_that_is_taken_by_chance_is_a_failure_of_any_other_news() -> None:
    """Only what is said once may find itself there."""
    api = EventsApi()
    api.troubles.append(refused(409, "AlreadyExists", "events already exists"))
    with writing(api) as events:
        events.put(news())
        until(lambda: events.counts()["refused"] == 1)
    assert said(api) == []


def test_news_of_a_pod_becomes_an_event_on_it() -> None:
    """With all that `kubectl describe` and `kubectl get events` look for."""
    api = EventsApi()
    with writing(api) as events:
        events.put(news())
        until(lambda: events.counts()["written"] == 1)
    ((name, event),) = api.events.items()
    assert name.startswith("train.")
    assert event == {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": "team"},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": "team",
            "name": "train",
            "uid": "uid-train",
        },
        "type": "Warning",
        "reason": "GpupackUnplaceable",
        "message": "Does not fit.",
        "source": {"component": "gpupack-extender"},
        "reportingComponent": "gpupack-extender",
        "reportingInstance": "here",
        "firstTimestamp": "2026-01-31T12:00:00Z",
        "lastTimestamp": "2026-01-31T12:00:00Z",
        "count": 1,
    }


def test_what_is_said_again_is_counted_on_the_event_that_is_there() -> None:
    """Another message is another Event."""
    api = EventsApi()
    with writing(api) as events:
        for number, text in enumerate(("one", "one", "two"), 1):
            events.put(news(message=text))
            until(lambda number=number: events.counts()["written"] == number)  # type: ignore[misc]
    assert sorted(said(api)) == [
        ("train", "GpupackUnplaceable", "one", 2),
        ("train", "GpupackUnplaceable", "two", 1),
    ]


def test_what_is_said_again_before_it_is_written_is_one_write() -> None:
    """Counted while it waits."""
    api = EventsApi()
    api.gate.clear()
    with writing(api) as events:
        events.put(news("first"))
        until(lambda: api.tried == 1)
        for _ in range(3):
            events.put(news())
        api.gate.set()
        until(lambda: events.counts()["written"] == 2)
    assert [(name, count) for name, _, _, count in said(api)] == [("first", 1), ("train", 3)]


def test_an_event_that_the_api_server_forgot_is_written_anew() -> None:
    """Events live for an hour."""
    api = EventsApi()
    with writing(api) as events:
        events.put(news())
        until(lambda: events.counts()["written"] == 1)
        api.events.clear()
        events.put(news())
        until(lambda: events.counts()["written"] == 2)
    assert said(api) == [("train", "GpupackUnplaceable", "Does not fit.", 1)]


def test_without_room_the_oldest_is_dropped_and_counted() -> None:
    """And nobody waits while the API server does not answer."""
    api = EventsApi()
    api.gate.clear()
    with writing(api, limit=2) as events:
        events.put(news("first"))
        until(lambda: api.tried == 1)
        for name in ("a", "b", "c", "d"):
            events.put(news(name))
        assert events.counts()["dropped"] == 2
        api.gate.set()
        until(lambda: events.counts()["written"] == 3)
    assert [name for name, *_ in said(api)] == ["first", "c", "d"]


def test_a_burst_is_written_at_once_and_no_more_than_the_rate_after_it() -> None:
    """While the clock stands, no token comes."""
    api, clock = EventsApi(), StandingClock()
    with writing(api, per_s=1.0, clock=clock) as events:
        for at in range(BURST + 5):
            events.put(news(f"p{at}"))
        clock.advance(QUIET_S)
        until(lambda: events.counts()["written"] == BURST)
        time.sleep(0.3)
        assert len(api.events) == BURST
        clock.advance(2.0)
        until(lambda: len(api.events) == BURST + 2)
        time.sleep(0.2)
        assert len(api.events) == BURST + 2


def test_events_give_way_to_decisions() -> None:
    """While news follows news none is written, until the oldest has waited for long; the time is when it was said."""
    api, clock = EventsApi(), StandingClock()
    times = iter(f"2026-01-31T12:00:{second:02}Z" for second in range(60))
    with writing(api, clock=clock, now=lambda: next(times)) as events:
        for at in range(3):
            events.put(news(f"p{at}"))
            clock.advance(QUIET_S / 2)
        time.sleep(0.3)
        assert api.events == {}
        clock.advance(PATIENCE_S - 1.5 * QUIET_S)
        events.put(news("latest"))
        until(lambda: events.counts()["written"] == 1)
        time.sleep(0.3)
        assert [name for name, *_ in said(api)] == ["p0"]
        clock.advance(QUIET_S)
        until(lambda: events.counts()["written"] == 4)
    assert [event["firstTimestamp"] for event in api.events.values()] == [
        f"2026-01-31T12:00:{second:02}Z" for second in range(4)
    ]


def test_half_a_queue_is_reason_enough_to_write() -> None:
    """Else news would be dropped that could have been written."""
    api, clock = EventsApi(), StandingClock()
    with writing(api, limit=4, clock=clock) as events:
        events.put(news("a"))
        time.sleep(0.3)
        assert api.events == {}
        events.put(news("b"))
        until(lambda: events.counts()["written"] == 1)


def test_a_rate_of_zero_writes_nothing_and_keeps_nothing() -> None:
    """Events are turned off."""
    api = EventsApi()
    with writing(api, per_s=0.0) as events:
        events.put(news())
    assert (api.tried, events.counts()["dropped"]) == (0, 0)


def test_trouble_of_the_api_server_is_tried_again() -> None:
    """Unreachable, overloaded, broken: each once."""
    api = EventsApi()
    api.troubles.extend(
        [ApiUnreachable("refused", sent=False), ApiError(429, "TooManyRequests", ""), ApiError(500, "", "")]
    )
    with writing(api) as events:
        events.put(news())
        until(lambda: events.counts()["written"] == 1)
    assert api.tried == 4


def test_a_refusal_of_the_api_server_is_final() -> None:
    """The namespace is being deleted, say: the next news is not held up."""
    api = EventsApi()
    api.troubles.append(refused(403, "Forbidden", "namespace is being terminated"))
    with writing(api) as events:
        events.put(news("gone"))
        events.put(news("train"))
        until(lambda: events.counts()["written"] == 1)
        assert events.counts()["refused"] == 1
    assert [name for name, *_ in said(api)] == ["train"]


def test_what_fails_again_and_again_is_given_up() -> None:
    """And counted."""
    api = EventsApi()
    api.troubles.extend([ApiError(500, "InternalError", "") for _ in range(MAX_TRIES)])
    with writing(api) as events:
        events.put(news())
        until(lambda: events.counts()["failed"] == 1)
    assert api.events == {}


def test_what_waits_at_the_end_is_counted_as_dropped() -> None:
    """Stopping does not wait for a slow API server to take all of it."""
    api = EventsApi()
    api.gate.clear()
    with writing(api) as events:
        events.put(news("first"))
        until(lambda: api.tried == 1)
        events.put(news())
    assert events.counts()["dropped"] == 1


def test_long_names_and_messages_are_cut_to_what_the_api_server_takes() -> None:
    """253 characters for a name; kubectl shows no more than 1024 of a message."""
    api = EventsApi()
    with writing(api) as events:
        events.put(news("n" * 253, "m" * 2000))
        until(lambda: events.counts()["written"] == 1)
    ((name, event),) = api.events.items()
    assert len(name) <= 253
    assert len(event["message"]) == LONGEST_MESSAGE
    assert event["message"].endswith("…")
    assert event["involvedObject"]["name"] == "n" * 253


def test_news_of_a_node_is_found_by_kubectl_describe_node() -> None:
    """It has no namespace: its Events are in the default one; the node is their source."""
    api = EventsApi()
    events = EventRecorder(
        api,
        component="gpupack-device-plugin",
        host="n1",
        node="n1",
        now=lambda: "2026-01-31T12:00:00Z",
        clock=time.monotonic,
        per_s=10.0,
    )
    events.start()
    events.put(node_news("n1", "Warning", "GPUUnhealthy", "GPU-a is not used"))
    until(lambda: events.counts()["written"] == 1)
    events.stop(ONCE_S)
    (event,) = api.events.values()
    assert event["metadata"]["namespace"] == "default"
    assert event["involvedObject"] == {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "n1"}
    assert event["source"] == {"component": "gpupack-device-plugin", "host": "n1"}
    assert event["reportingComponent"] == "gpupack-device-plugin"
