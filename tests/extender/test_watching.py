"""One list and watch loop against an API server that does everything wrong, over real sockets."""

import json
import logging
import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extender.apierrors import ApiUnreachable
from extender.kubeapi import connect
from extender.watching import Lines, Reflector, ReflectorSettings
from tests.fakes.api_server import (
    ApiServer,
    Exchange,
    Step,
    bookmark,
    event,
    kubeconfig_for,
    listing,
    pod,
    refusing,
    status_object,
    wait_until,
    watching,
)
from tests.fakes.reflecting import InstantEvent, RecordingSink, StandingClock

PODS = "/api/v1/pods"
SETTINGS = ReflectorSettings(page_size=2, list_timeout_s=5.0, silence_s=5.0)
LOGGER = "extender.watching"


@dataclass
class World:
    """A reflector that watches a scripted server; the test scripts the server, then starts the reflector."""

    server: ApiServer
    reflector: Reflector
    sink: RecordingSink
    clock: StandingClock
    stopping: InstantEvent

    def start(self) -> None:
        """Start, and wait for the first full list in the sink."""
        self.reflector.start()
        assert self.reflector.wait_synced(10.0)

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
    """A world with a clock that stands and pauses that take no time."""
    clock, stopping = StandingClock(), InstantEvent()
    sink = sink if sink is not None else RecordingSink()
    with ApiServer() as server:
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
        assert reflector.stop(10.0)
        api.close()


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reach the fake server directly, whatever proxy this machine uses."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    """The usual world."""
    with world(tmp_path) as made:
        yield made


def logged(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    """The reflector's messages of one level."""
    return [record.getMessage() for record in caplog.records if record.name == LOGGER and record.levelno == level]


def test_a_list_then_its_changes_reach_the_sink(here: World) -> None:
    """The list as one swap, then each change in order, from the list's version on."""
    here.server.on_list(listing(10, [pod("a", 3), pod("b", 4)]))
    here.server.on_watch(
        watching(event("ADDED", pod("c", 11)), event("MODIFIED", pod("a", 12)), event("DELETED", pod("b", 13)))
    )
    here.start()
    expected = [("replaced", "10", "a", "b"), ("ADDED", "c", "11"), ("MODIFIED", "a", "12"), ("DELETED", "b", "13")]
    assert wait_until(lambda: len(here.sink.calls) == 4)
    assert expected == here.sink.calls
    assert here.versions() == ["10"]
    assert (here.reflector.counts.lists, here.reflector.counts.watches, here.reflector.counts.events) == (1, 1, 3)


def test_objects_arrive_as_their_own_exact_bytes(here: World) -> None:
    """Neither a list item nor an event's object is re-encoded, and each is a copy of its own."""
    first, second = (json.dumps(pod(name, 4), indent=1, ensure_ascii=False).encode() for name in "ab")
    page = b'{"metadata":{"resourceVersion":"10"},"items":[%b ]}' % first
    line = b'{"type":"ADDED","object":%b}\n' % second.replace(b"\n", b"")
    here.server.on_list(lambda exchange: exchange.answer(200, page))
    here.server.on_watch(watching(line))
    here.start()
    assert wait_until(lambda: len(here.sink.raw) == 2)
    assert [first, second.replace(b"\n", b"")] == here.sink.raw
    assert {type(raw) for raw in here.sink.raw} == {bytes}


def test_pages_are_gathered_into_one_swap(here: World) -> None:
    """And the watch begins at the first page's version, so that nothing between two pages is missed."""
    here.server.on_list(
        listing(10, [pod("a", 1), pod("b", 2)], "to/2"),
        listing(12, [pod("c", 3), pod("d", 4)], "to/3"),
        listing(14, [pod("e", 5)]),
    )
    here.server.on_watch(watching())
    here.start()
    here.until_watch(1)
    assert here.sink.calls == [("replaced", "10", *"abcde")]
    assert here.versions() == ["10"]
    expected = [{"limit": "2"}, {"limit": "2", "continue": "to/2"}, {"limit": "2", "continue": "to/3"}]
    assert expected == [dict(request.query) for request in here.server.of("list")]


def test_an_expired_continue_token_lists_in_one_piece(here: World) -> None:
    """What was gathered is dropped: it belongs to a state that is gone."""
    here.server.on_list(
        listing(10, [pod("a", 1), pod("b", 2)], "to/2"), refusing(410, "Expired"), listing(20, [pod("c", 11)])
    )
    here.start()
    here.until_watch(1)
    assert here.sink.calls == [("replaced", "20", "c")]
    assert dict(here.server.of("list")[2].query) == {}
    assert here.versions() == ["20"]
    assert here.stopping.pauses == []


def test_an_empty_collection_is_in_sync(here: World) -> None:
    """Also when `items` is null, as Go encodes an empty list."""
    here.server.on_list(lambda exchange: exchange.answer(200, b'{"metadata":{"resourceVersion":"3"},"items":null}'))
    here.start()
    assert here.sink.calls == [("replaced", "3")]


def test_bookmarks_move_the_version(here: World) -> None:
    """And are no changes."""
    here.server.on_list(listing(10, []))
    here.server.on_watch(watching(bookmark(40), bookmark(50), then=Exchange.end_stream))
    here.start()
    here.until_watch(2)
    assert here.versions() == ["10", "50"]
    assert here.sink.calls == [("replaced", "10")]
    assert (here.reflector.counts.events, here.reflector.counts.sink_errors) == (0, 0)


def test_watch_timeouts_are_spread_over_their_span(here: World) -> None:
    """So that all watches of a cluster do not end together."""
    here.server.on_list(listing(10, []))
    here.server.on_watch(*[watching(then=Exchange.end_stream)] * 9)
    here.start()
    here.until_watch(9)
    timeouts = [int(request.query["timeoutSeconds"]) for request in here.server.of("watch")]
    assert min(timeouts) >= 300
    assert max(timeouts) <= 600
    assert len(set(timeouts)) > 3


def test_a_version_that_is_gone_is_listed_again(here: World) -> None:
    """410 as an HTTP status: objects that vanished meanwhile vanish from the sink."""
    here.server.on_list(listing(10, [pod("a", 1), pod("b", 2)]), listing(90, [pod("b", 2)]))
    here.server.on_watch(refusing(410, "Expired"))
    here.start()
    here.until_watch(2)
    assert here.sink.calls == [("replaced", "10", "a", "b"), ("replaced", "90", "b")]
    assert here.versions() == ["10", "90"]


def test_a_gone_event_is_listed_again(here: World) -> None:
    """410 as an ERROR event in an open watch."""
    here.server.on_list(listing(10, [pod("a", 1)]), listing(90, [pod("b", 2)]))
    here.server.on_watch(watching(event("ERROR", status_object(410, "Expired"))))
    here.start()
    here.until_watch(2)
    assert here.sink.calls == [("replaced", "10", "a"), ("replaced", "90", "b")]


def test_a_gone_version_is_listed_at_once_unless_it_was_just_listed(here: World) -> None:
    """A server that calls its own newest list gone must not be asked in a hot loop."""
    here.server.on_list(*[listing(10, [])] * 3)
    here.server.on_watch(refusing(410, "Expired"), later(here, 60.0, refusing(410, "Expired")))
    here.start()
    here.until_watch(3)
    assert len(here.stopping.pauses) == 1


def test_another_error_event_is_logged_and_listed_again(here: World, caplog: pytest.LogCaptureFixture) -> None:
    """After a pause: what the event was about is not known."""
    caplog.set_level(logging.INFO)
    here.server.on_list(listing(10, []), listing(11, []))
    here.server.on_watch(watching(event("ERROR", status_object(500, "InternalError", "etcd is on fire"))))
    here.start()
    here.until_watch(2)
    assert here.versions() == ["10", "11"]
    expected = [f"{PODS}: watch event failed: 500 InternalError: etcd is on fire"]
    assert expected == logged(caplog, logging.WARNING)
    assert len(here.stopping.pauses) == 1


@pytest.mark.parametrize(
    "line",
    [
        b"%%%\n",
        b'{"type":"ADDED"}\n',
        b'{"type":"MOVED","object":{}}\n',
        b'{"type":"ADDED","object":{"metadata":{}}}\n',
        b'{"type":"ADDED","object":{"metadata":{"name":"\xff","resourceVersion":"1"}}}\n',
        b"[]\n",
    ],
    ids=["no json", "no object", "unknown type", "no version", "no utf-8", "no event"],
)
def test_a_garbage_line_is_listed_again(here: World, caplog: pytest.LogCaptureFixture, line: bytes) -> None:
    """What it should have said is in the next list."""
    here.server.on_list(listing(10, []), listing(11, [pod("a", 11)]))
    here.server.on_watch(watching(line))
    here.start()
    here.until_watch(2)
    assert here.sink.objects == {"a": 11}
    assert len(logged(caplog, logging.WARNING)) == 1


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"{}", b'{"metadata":{}}', b'{"metadata":{"resourceVersion":""},"items":[]}', b'{"metadata":'],
)
def test_a_garbage_list_is_tried_again(here: World, body: bytes) -> None:
    """Nothing of it reaches the sink."""
    here.server.on_list(lambda exchange: exchange.answer(200, body), listing(11, [pod("a", 11)]))
    here.start()
    assert here.sink.calls == [("replaced", "11", "a")]
    assert len(here.stopping.pauses) == 1


@pytest.mark.parametrize("fault", [Exchange.reset, Exchange.hang_up, Exchange.end_stream])
def test_a_broken_watch_goes_on_from_the_last_event(here: World, fault: Step) -> None:
    """RST, FIN without the final chunk, or a proper end: no relist."""
    received = threading.Event()

    def break_once_received(exchange: Exchange) -> None:
        received.wait(10.0)
        fault(exchange)

    here.server.on_list(listing(10, []))
    here.server.on_watch(watching(event("ADDED", pod("a", 11)), then=break_once_received))
    here.server.on_watch(watching(event("ADDED", pod("b", 12))))
    here.start()
    assert wait_until(lambda: "a" in here.sink.objects)
    received.set()
    assert wait_until(lambda: "b" in here.sink.objects)
    assert here.versions() == ["10", "11"]
    assert len(here.server.of("list")) == 1


def test_half_a_line_is_asked_for_again(here: World) -> None:
    """The watch goes on from the last whole event."""
    half = json.dumps(event("ADDED", pod("b", 12))).encode()[:40]
    here.server.on_list(listing(10, []))
    here.server.on_watch(watching(event("ADDED", pod("a", 11)), half, then=Exchange.end_stream))
    here.server.on_watch(watching(event("ADDED", pod("b", 12))))
    here.start()
    assert wait_until(lambda: here.sink.objects == {"a": 11, "b": 12})
    assert here.versions() == ["10", "11"]


def test_a_watch_that_lasted_is_followed_at_once_and_a_short_one_after_a_pause(here: World) -> None:
    """The server's own time-outs cost nothing; a server that hangs up at once is not asked in a hot loop."""
    here.server.on_list(listing(10, []))
    here.server.on_watch(
        watching(then=later(here, 300.0, Exchange.end_stream, opened=1)), watching(then=Exchange.end_stream), watching()
    )
    here.start()
    here.until_watch(3)
    assert len(here.stopping.pauses) == 1


def test_a_silent_watch_is_dropped_and_goes_on_from_the_last_version(tmp_path: Path) -> None:
    """The connection is open and dead: no relist, no event lost."""
    quick = ReflectorSettings(silence_s=0.1)
    with world(tmp_path, reflector_settings=quick) as here:
        here.server.on_list(listing(10, []))
        here.server.on_watch(watching(bookmark(30)), watching(event("ADDED", pod("a", 31))))
        here.start()
        assert wait_until(lambda: "a" in here.sink.objects)
        assert here.versions()[:2] == ["10", "30"]
        assert len(here.server.of("list")) == 1


def test_a_server_that_accepts_and_never_answers_is_tried_again(tmp_path: Path) -> None:
    """Each list has its time-out."""
    quick = ReflectorSettings(list_timeout_s=0.1)
    with world(tmp_path, reflector_settings=quick) as here:
        here.server.on_list(Exchange.hang, Exchange.hang, listing(10, [pod("a", 1)]))
        here.start()
        assert here.sink.calls == [("replaced", "10", "a")]
        assert here.reflector.counts.failures == 2


def test_retry_after_is_honoured_within_bounds(here: World) -> None:
    """Not shorter than asked, and never for hours."""
    asking = [{"Retry-After": "17"}, {"Retry-After": "86400"}]
    here.server.on_list(*[refusing(429, "TooManyRequests", headers) for headers in asking], listing(10, []))
    here.start()
    assert here.stopping.pauses == [17.0, 120.0]


def test_failures_then_recovery(here: World, caplog: pytest.LogCaptureFixture) -> None:
    """Pauses grow within their bounds; the log has one line when it breaks and one when it works again."""
    caplog.set_level(logging.INFO)
    here.server.on_list(*[refusing(500, "InternalError")] * 8, listing(10, [pod("a", 1)]))
    here.start()
    here.until_watch(1)
    ceilings = [1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0, 30.0]
    assert all(0.8 <= pause <= ceiling for pause, ceiling in zip(here.stopping.pauses, ceilings, strict=True))
    assert max(here.stopping.pauses) > 12.8
    assert logged(caplog, logging.WARNING) == [f"{PODS}: list failed: 500 InternalError: scripted 500"]
    expected = f"{PODS}: list works again after 8 failures, last: 500 InternalError"
    assert logged(caplog, logging.INFO) == [expected]


def test_refused_watches_are_tried_from_the_same_version_then_listed_again(here: World) -> None:
    """A server restored from a backup never knows our version again: in the end only a list helps."""
    here.server.on_list(listing(90, []), listing(20, []))
    here.server.on_watch(*[refusing(500, "InternalError")] * 3)
    here.start()
    here.until_watch(4)
    assert here.versions() == ["90", "90", "90", "20"]


def test_a_healthy_stretch_forgets_old_failures(here: World) -> None:
    """The first pause after it is a short one again."""
    here.server.on_list(*[refusing(500, "InternalError")] * 9, listing(10, []))
    here.server.on_watch(
        watching(then=later(here, 300.0, Exchange.end_stream, opened=1)), refusing(500, "InternalError")
    )
    here.start()
    here.until_watch(3)
    assert here.stopping.pauses[-1] <= 1.6


def test_missing_rights_are_logged_once_per_change(here: World, caplog: pytest.LogCaptureFixture) -> None:
    """Clearly, at error level, not at every try."""
    caplog.set_level(logging.INFO)
    here.server.on_list(*[refusing(403, "Forbidden")] * 4, *[refusing(401, "Unauthorized")] * 3, listing(10, []))
    here.start()
    here.until_watch(1)
    hint = "(check the credentials, and what the ClusterRole allows)"
    assert logged(caplog, logging.ERROR) == [
        f"{PODS}: list failed: 403 Forbidden: scripted 403 {hint}",
        f"{PODS}: list failed: 401 Unauthorized: scripted 401 {hint}",
    ]


def test_duplicated_and_reordered_events_are_passed_on_as_they_are(here: World) -> None:
    """To judge them is the sink's job."""
    here.server.on_list(listing(10, []))
    sent = [event("MODIFIED", pod("a", 12)), event("ADDED", pod("a", 11)), event("MODIFIED", pod("a", 12))]
    here.server.on_watch(watching(*sent, event("DELETED", pod("ghost", 13))))
    here.start()
    assert wait_until(lambda: len(here.sink.calls) == 5)
    expected = [("MODIFIED", "a", "12"), ("ADDED", "a", "11"), ("MODIFIED", "a", "12"), ("DELETED", "ghost", "13")]
    assert expected == here.sink.calls[1:]


def test_one_object_that_the_sink_cannot_take_does_not_stop_the_rest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged by name and counted."""
    with world(tmp_path, RecordingSink(fail_on="bad")) as here:
        here.server.on_list(listing(10, []))
        here.server.on_watch(watching(event("ADDED", pod("bad", 11)), event("ADDED", pod("good", 12))))
        here.start()
        assert wait_until(lambda: here.sink.objects == {"good": 12})
        assert here.reflector.counts.sink_errors == 1
        assert logged(caplog, logging.ERROR) == [f"{PODS}: event ADDED of team/bad was not taken over"]


def test_a_list_that_the_sink_cannot_take_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And counts as not synced until it is."""
    with world(tmp_path, RecordingSink(failing_lists=1)) as here:
        before = []

        def second(exchange: Exchange) -> None:
            before.append(here.reflector.synced)
            exchange.answer(200, {"metadata": {"resourceVersion": "11"}, "items": []})

        here.server.on_list(listing(10, []), second)
        here.start()
        assert before == [False]
        assert here.sink.calls == [("replaced", "11")]
        assert logged(caplog, logging.ERROR) == [f"{PODS}: list of 0 objects was not taken over"]
        assert len(here.stopping.pauses) == 1


def test_synced_only_after_the_whole_first_list(here: World) -> None:
    """A first page is not a view."""
    last_page = threading.Event()

    def hold(exchange: Exchange) -> None:
        last_page.wait(10.0)
        listing(10, [pod("b", 2)])(exchange)

    here.server.on_list(listing(10, [pod("a", 1)], "to/2"), hold)
    here.reflector.start()
    here.server.wait_for("list", 2)
    assert not here.reflector.synced
    last_page.set()
    assert here.reflector.wait_synced(10.0)
    assert here.sink.objects == {"a": 1, "b": 2}


def test_contact_age_is_the_time_since_the_server_last_fed_the_view(here: World) -> None:
    """A page, an opened watch, and each line count; a refusal does not, for it feeds nothing."""
    lines = [threading.Event() for _ in range(3)]

    def line_by_line(exchange: Exchange) -> None:
        here.clock.advance(5.0)
        exchange.open_stream()
        lines[0].wait(10.0)
        exchange.send(bookmark(20))
        lines[1].wait(10.0)
        exchange.hang_up()

    def hold(exchange: Exchange) -> None:
        lines[2].wait(10.0)
        exchange.hang_up()

    here.server.on_list(refusing(503, "ServiceUnavailable"), listing(10, []))
    here.server.on_watch(line_by_line, later(here, 20.0, refusing(503, "ServiceUnavailable")), hold)
    assert here.reflector.contact_age_s(here.clock.now) == inf
    here.start()
    assert wait_until(lambda: here.reflector.counts.watches == 1)
    assert here.reflector.contact_age_s(here.clock.now) == 0.0
    here.clock.advance(70.0)
    assert here.reflector.contact_age_s(here.clock.now) == 70.0
    lines[0].set()
    assert wait_until(lambda: here.reflector.contact_age_s(here.clock.now) == 0.0)
    lines[1].set()
    here.until_watch(3)
    assert here.reflector.contact_age_s(here.clock.now) == 20.0
    lines[2].set()


def test_a_bug_met_by_one_answer_does_not_end_the_loop(caplog: pytest.LogCaptureFixture) -> None:
    """An extender whose view froze would overbook; the error is logged with its trace."""
    source = BuggySource()
    reflector = Reflector(source, PODS, RecordingSink(), stopping=InstantEvent())
    reflector.start()
    assert reflector.wait_synced(10.0)
    assert source.watched.wait(10.0)
    reflector.stop(0.0)
    source.released.set()
    assert reflector.stop(10.0)
    assert logged(caplog, logging.ERROR) == [f"{PODS}: unexpected error, listing again"]


def test_stop_ends_a_blocked_watch_at_once(here: World) -> None:
    """Although the server says nothing."""
    here.server.on_list(listing(10, []))
    here.server.on_watch(watching(event("ADDED", pod("a", 11))))
    here.start()
    assert wait_until(lambda: "a" in here.sink.objects)
    assert stop_time_s(here.reflector) < 2.0


def test_stop_ends_a_pause_at_once(tmp_path: Path) -> None:
    """Although the server asked for two minutes."""
    with ApiServer() as server:
        server.on_list(refusing(429, "TooManyRequests", {"Retry-After": "120"}))
        reflector = Reflector(connect(kubeconfig_for(server, tmp_path)), PODS, RecordingSink())
        reflector.start()
        assert wait_until(lambda: reflector.counts.failures == 1)
        assert stop_time_s(reflector) < 2.0
        assert len(server.requests) == 1


def test_stop_does_not_wait_for_a_list_and_its_answer_is_dropped(here: World) -> None:
    """A stopped reflector no longer touches its sink."""
    answer = threading.Event()

    def late(exchange: Exchange) -> None:
        answer.wait(10.0)
        listing(10, [pod("a", 1)])(exchange)

    here.server.on_list(late)
    here.reflector.start()
    here.server.wait_for("list", 1)
    assert here.reflector.stop(0.05) is False
    answer.set()
    assert here.reflector.stop(10.0) is True
    assert here.sink.calls == []


def test_stop_before_start_is_harmless(here: World) -> None:
    """A program that fails while starting stops what it has."""
    assert here.reflector.stop(1.0) is True


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"page_size": 0}, "page_size 0"),
        ({"watch_timeout_s": (600.0, 300.0)}, "watch_timeout_s"),
        ({"silence_s": 0.0}, "silence_s 0.0"),
        ({"list_timeout_s": -1.0}, "list_timeout_s -1.0"),
    ],
)
def test_settings_are_checked(wrong: dict[str, Any], expected: str) -> None:
    """When they are made."""
    with pytest.raises(ValueError, match=expected):
        ReflectorSettings(**wrong)


@settings(max_examples=40, deadline=None)
@given(
    changes=st.lists(st.tuples(st.sampled_from("abcde"), st.booleans()), max_size=24),
    cuts=st.lists(st.tuples(st.integers(0, 24), st.sampled_from(["end", "break", "gone", "garbage"])), max_size=5),
    page_size=st.integers(1, 3),
)
def test_a_relist_and_a_watch_lead_to_the_same_state(
    tmp_path_factory: pytest.TempPathFactory,
    changes: list[tuple[str, bool]],
    cuts: list[tuple[int, str]],
    page_size: int,
) -> None:
    """However a history is cut into watched and listed stretches, the sink ends with the objects that there are."""
    history = History(changes)
    small = ReflectorSettings(page_size=page_size, list_timeout_s=5.0, silence_s=5.0)
    with world(tmp_path_factory.mktemp("world"), reflector_settings=small) as here:
        # A list for the start and after each cut, in pages of one object at the least.
        here.server.on_list(*[history.answer_list] * (len(cuts) + 1) * 5)
        here.server.on_watch(*[history.watch_until(upto, fault) for upto, fault in sorted(cuts)])
        here.server.on_watch(history.watch_until(len(changes), "hang"))
        here.start()
        expected = history.objects_at(len(changes))
        assert wait_until(lambda: here.server.of("watch")[len(cuts) :] != [] and expected == here.sink.objects)


class BuggySource:
    """A source whose first list raises what no source should; its watch waits until it is released."""

    def __init__(self) -> None:
        self.watched = threading.Event()
        self.released = threading.Event()
        self._tries = 0

    def list_page(self, _path: str, _limit: int, _continue_token: str, _timeout_s: float) -> bytes:
        """The first time a bug."""
        self._tries += 1
        if self._tries == 1:
            raise KeyError("a bug")
        return b'{"metadata":{"resourceVersion":"1"},"items":[]}'

    def watch(self, _path: str, _resource_version: str, _timeout_s: float, _silence_s: float) -> Lines:
        """Refused, once the test lets it go on."""
        self.watched.set()
        self.released.wait(10.0)
        raise ApiUnreachable("released", sent=False)


class History:
    """What happened to a few objects, served as lists and as watches that are cut where a test says.

    Change number n has version n + 1 (the empty state has version 1, a change the next).
    """

    def __init__(self, changes: Sequence[tuple[str, bool]]) -> None:
        self._states: list[dict[str, int]] = [{}]
        self._events: list[dict[str, object]] = []
        self._happened = 0
        for version, (name, present) in enumerate(changes, start=2):
            state = dict(self._states[-1])
            kind = ("MODIFIED" if name in state else "ADDED") if present else "DELETED"
            if present:
                state[name] = version
            else:
                state.pop(name, None)
            self._states.append(state)
            self._events.append(event(kind, pod(name, version)))

    def objects_at(self, changes: int) -> dict[str, int]:
        """Name and version of what there is after so many changes."""
        return self._states[changes]

    def answer_list(self, exchange: Exchange) -> None:
        """One page of the state of now, or of the moment that the continue token names."""
        at, _, start = exchange.request.query.get("continue", f"{self._happened}/0").partition("/")
        limit = int(exchange.request.query["limit"])
        items = [pod(name, version) for name, version in sorted(self._states[int(at)].items())]
        upto = int(start) + limit
        listing(int(at) + 1, items[int(start) : upto], f"{at}/{upto}" if upto < len(items) else "")(exchange)

    def watch_until(self, upto: int, fault: str) -> Step:
        """A watch that sends what has happened since the version asked for, up to change `upto`, then fails."""

        def step(exchange: Exchange) -> None:
            self._happened = max(self._happened, min(upto, len(self._events)))
            seen = int(exchange.request.query["resourceVersion"]) - 1
            exchange.open_stream()
            exchange.send(*self._events[seen : self._happened])
            if fault == "end":
                exchange.end_stream()
            elif fault == "break":
                exchange.send(b'{"type":')
                exchange.reset()
            elif fault == "gone":
                exchange.send(event("ERROR", status_object(410, "Expired")))
                exchange.hang_up()
            elif fault == "garbage":
                exchange.send(b"}{\n")
                exchange.hang_up()
            else:
                exchange.hang()

        return step


def stop_time_s(reflector: Reflector) -> float:
    """How long a stop takes that ends the thread."""
    before = time.monotonic()
    assert reflector.stop(10.0)
    return time.monotonic() - before


def later(here: World, seconds: float, step: Step, opened: int = 0) -> Step:
    """`step` after some time of the standing clock, once `opened` watches have been opened."""

    def delayed(exchange: Exchange) -> None:
        assert wait_until(lambda: here.reflector.counts.watches >= opened)
        here.clock.advance(seconds)
        step(exchange)

    return delayed
