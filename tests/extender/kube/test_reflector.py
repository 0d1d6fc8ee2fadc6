"""One list and watch loop over real sockets: what reaches the sink, from which version on, and how fresh it is."""

import json
import threading
from math import inf
from typing import Any

import pytest

from extender.kube.reflector import ReflectorSettings
from tests.extender.worlds import World, later
from tests.fakes.api_server import Exchange, bookmark, event, listing, pod, refusing, wait_until, watching


def test_a_list_then_its_changes_reach_the_sink(here: World) -> None:
    """The list as one swap, then each change in order, from the list's version on."""
    here.server.on_list(listing(10, [pod("a", 3), pod("b", 4)]))
    here.server.on_watch(
        watching(event("ADDED", pod("c", 11)), event("MODIFIED", pod("a", 12)), event("DELETED", pod("b", 13)))
    )
    here.start()
    expected = [("replaced", "10", "a", "b"), ("changed", "c", "11"), ("changed", "a", "12"), ("deleted", "b", "13")]
    assert wait_until(lambda: len(here.sink.calls) == 4)
    assert expected == here.sink.calls
    assert here.versions() == ["10"]
    assert (here.reflector.counts.lists, here.reflector.counts.watches, here.reflector.counts.events) == (1, 1, 3)


def test_objects_arrive_as_their_own_exact_bytes(here: World) -> None:
    """Neither a list item nor an event's object is re-encoded, and each is a copy of its own."""
    first, second = (json.dumps(pod(name, 10), indent=1, ensure_ascii=False).encode() for name in "ab")
    page = b'{"kind":"PodList","metadata":{"resourceVersion":"10"},"items":[%b ]}' % first
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
    """Also without `items`, or with null: Go may encode an empty list so."""
    here.server.on_list(lambda exchange: exchange.answer(200, b'{"kind":"PodList","metadata":{"resourceVersion":"3"}}'))
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


def test_duplicated_and_reordered_events_are_passed_on_as_they_are(here: World) -> None:
    """To judge them is the sink's job."""
    here.server.on_list(listing(10, []))
    sent = [event("MODIFIED", pod("a", 12)), event("ADDED", pod("a", 11)), event("MODIFIED", pod("a", 12))]
    here.server.on_watch(watching(*sent, event("DELETED", pod("ghost", 13))))
    here.start()
    assert wait_until(lambda: len(here.sink.calls) == 5)
    expected = [("changed", "a", "12"), ("changed", "a", "11"), ("changed", "a", "12"), ("deleted", "ghost", "13")]
    assert expected == here.sink.calls[1:]


def test_synced_only_after_the_whole_first_list(here: World) -> None:
    """A first page is not a view."""
    last_page = threading.Event()

    def hold(exchange: Exchange) -> None:
        last_page.wait(30.0)
        listing(10, [pod("b", 2)])(exchange)

    here.server.on_list(listing(10, [pod("a", 1)], "to/2"), hold)
    here.reflector.start()
    here.server.wait_for("list", 2)
    assert not here.reflector.synced
    last_page.set()
    assert here.reflector.wait_synced(30.0)
    assert here.sink.objects == {"a": 1, "b": 2}


def test_contact_age_is_the_time_since_the_server_last_fed_the_view(here: World) -> None:
    """A page, an opened watch, and each line count; a refusal does not, for it feeds nothing."""
    lines = [threading.Event() for _ in range(3)]

    def line_by_line(exchange: Exchange) -> None:
        here.clock.advance(5.0)
        exchange.open_stream()
        lines[0].wait(30.0)
        exchange.send(bookmark(20))
        lines[1].wait(30.0)
        exchange.hang_up()

    def hold(exchange: Exchange) -> None:
        lines[2].wait(30.0)
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
