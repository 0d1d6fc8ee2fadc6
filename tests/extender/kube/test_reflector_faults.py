"""One list and watch loop against an API server that does everything wrong, over real sockets."""

import json
import logging
import threading
from pathlib import Path

import pytest

from extender.kube.errors import ApiUnreachable
from extender.kube.reflector import Reflector, ReflectorSettings
from extender.kube.watchstream import Lines
from tests.extender.api_calls import PODS
from tests.extender.worlds import World, later, logged, world
from tests.fakes.api_server import (
    Exchange,
    Step,
    bookmark,
    event,
    listing,
    pod,
    refusing,
    status_object,
    wait_until,
    watching,
)
from tests.fakes.reflecting import InstantEvent, RecordingSink


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
        b'{"type":"ADDED","object":{"metadata":{"name":"\xff","resourceVersion":"11"}}}\n',
        b"[]\n",
    ],
    ids=["no json", "no object", "unknown type", "no version", "no uid", "no event"],
)
def test_after_a_garbage_line_the_watch_goes_on_and_a_list_follows_it(
    here: World, caplog: pytest.LogCaptureFixture, line: bytes
) -> None:
    """What it should have said is in that list; until then the others are not held up."""
    here.server.on_list(listing(10, []), listing(20, [pod("a", 15)]))
    here.server.on_watch(watching(line, event("ADDED", pod("b", 11)), then=Exchange.end_stream))
    here.start()
    here.until_watch(2)
    assert here.sink.calls[1:] == [("changed", "b", "11"), ("replaced", "20", "a")]
    assert here.reflector.counts.unreadable == 1
    assert len(logged(caplog, logging.ERROR)) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"{}",
        b'{"metadata":{"resourceVersion":"3"}}',
        b'{"kind":"Pod","metadata":{"resourceVersion":"3"}}',
        b'{"metadata":{"resourceVersion":""},"items":[]}',
        b'{"metadata":',
    ],
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
        received.wait(30.0)
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


def test_a_server_that_ends_every_watch_at_once_is_asked_ever_less_often(here: World) -> None:
    """Seven watches in the first five seconds at the very most, and few after it (it once got 4,277)."""
    here.server.on_list(listing(10, []))
    here.server.on_watch(*[watching(then=Exchange.end_stream)] * 12)
    here.start()
    here.until_watch(13)
    pauses = here.stopping.pauses[:12]
    assert min(pauses) >= 0.8
    assert max(pauses) > 12.8
    assert len(here.server.of("list")) == 1


def test_silence_is_noticed_before_the_view_counts_as_stale() -> None:
    """A bookmark a minute keeps a quiet watch open; the extender refuses after 120 s without contact."""
    assert 75.0 <= ReflectorSettings().silence_s <= 90.0


def test_a_silent_watch_is_dropped_and_goes_on_from_the_last_version(tmp_path: Path) -> None:
    """The connection is open and dead: no relist, no event lost."""
    quick = ReflectorSettings(silence_s=1.0)
    with world(tmp_path, reflector_settings=quick) as here:
        here.server.on_list(listing(10, []))
        here.server.on_watch(watching(bookmark(30)), watching(event("ADDED", pod("a", 31))))
        here.start()
        assert wait_until(lambda: "a" in here.sink.objects)
        assert here.versions()[:2] == ["10", "30"]
        assert len(here.server.of("list")) == 1


def test_a_server_that_accepts_and_never_answers_is_tried_again(tmp_path: Path) -> None:
    """Each list has its time-out."""
    quick = ReflectorSettings(list_timeout_s=1.0)
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
    expected = f"{PODS}: list recovered after 8 failures (last: 500 InternalError)"
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


def test_one_object_that_the_sink_cannot_take_does_not_stop_the_rest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged by name and counted."""
    with world(tmp_path, RecordingSink(fail_on="bad")) as here:
        here.server.on_list(listing(10, []))
        here.server.on_watch(watching(event("ADDED", pod("bad", 11)), event("ADDED", pod("good", 12))))
        here.start()
        assert wait_until(lambda: here.sink.objects == {"good": 12})
        assert (here.reflector.counts.events, here.reflector.counts.sink_errors) == (2, 1)
        assert logged(caplog, logging.ERROR) == [f"{PODS}: event ADDED of team/bad could not be applied"]


def test_a_list_that_the_sink_cannot_take_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And counts as not synced until it is."""
    with world(tmp_path, RecordingSink(failing_lists=1)) as here:
        before = []

        def second(exchange: Exchange) -> None:
            before.append(here.reflector.synced)
            exchange.answer(200, {"kind": "PodList", "metadata": {"resourceVersion": "11"}, "items": []})

        here.server.on_list(listing(10, []), second)
        here.start()
        assert before == [False]
        assert here.sink.calls == [("replaced", "11")]
        assert logged(caplog, logging.ERROR) == [f"{PODS}: list of 0 objects could not be applied"]
        assert len(here.stopping.pauses) == 1


def test_a_bug_met_by_one_answer_does_not_end_the_loop(caplog: pytest.LogCaptureFixture) -> None:
    """An extender whose view froze would overbook; the error is logged with its trace."""
    source = BuggySource()
    reflector = Reflector(source, PODS, RecordingSink(), stopping=InstantEvent())
    reflector.start()
    assert reflector.wait_synced(30.0)
    assert source.watched.wait(30.0)
    reflector.stop(0.0)
    source.released.set()
    assert reflector.stop(30.0)
    assert logged(caplog, logging.ERROR) == [f"{PODS}: unexpected error, listing again"]


class BuggySource:
    """A source whose first list raises what no source should; its watch waits until it is released."""

    def __init__(self) -> None:
        self.watched = threading.Event()
        self.released = threading.Event()
        self._tries = 0

    def list_page(
        self, _path: str, _limit: int, _token: str, _timeout_s: float, _max_bytes: int | None = None
    ) -> bytes:
        """The first time a bug."""
        self._tries += 1
        if self._tries == 1:
            raise KeyError("a bug")
        return b'{"kind":"PodList","metadata":{"resourceVersion":"1"},"items":[]}'

    def watch(self, _path: str, _resource_version: str, _timeout_s: float, _silence_s: float) -> Lines:
        """Refused, once the test lets it go on."""
        self.watched.set()
        self.released.wait(30.0)
        raise ApiUnreachable("released", sent=False)
