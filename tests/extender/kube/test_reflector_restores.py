"""The API server's storage was restored from a backup: what was seen since then has not happened."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.extender.worlds import World, logged, world
from tests.fakes.api_server import Exchange, Step, bookmark, event, listing, pod, refusing, watching


@pytest.fixture(name="here")
def _here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def cut(*blocks: object) -> Step:
    """A watch that breaks off, as all of them do when an API server is stopped."""
    return watching(*blocks, then=Exchange.reset)


def test_a_list_below_what_was_seen_resets_the_view(here: World, caplog: pytest.LogCaptureFixture) -> None:
    """The sink is told so, and the log."""
    here.server.on_list(listing(10, [pod("a", 9)]), listing(12, [pod("a", 8)]))
    here.server.on_watch(cut(event("MODIFIED", pod("a", 20))))
    here.server.on_version(listing(12, []))
    here.start()
    here.until_watch(2)
    assert here.sink.calls == [("replaced", "10", "a"), ("changed", "a", "20"), ("rewound", "12", "a")]
    assert here.versions() == ["10", "12"]
    assert "/api/v1/pods: back from version 20 to 12: the storage was restored" in logged(caplog, logging.WARNING)


def test_a_watch_from_the_future_is_never_opened(here: World) -> None:
    """The API server would accept it and say nothing until it gets there; meanwhile the view would be wrong."""
    here.server.on_list(listing(10, []), listing(7, []))
    here.server.on_watch(cut(bookmark(30)))
    here.server.on_version(listing(7, []))
    here.start()
    here.until_watch(2)
    assert here.versions() == ["10", "7"]


def test_after_a_list_the_watch_is_opened_at_once_and_later_ones_after_a_look(here: World) -> None:
    """One small request for each watch that goes on from another."""
    here.server.on_list(listing(10, []))
    here.server.on_watch(cut(bookmark(12)), cut())
    here.start()
    here.until_watch(3)
    kinds = [request.kind for request in here.server.requests]
    assert kinds == ["list", "watch", "version", "watch", "version", "watch"]
    assert here.server.of("version")[0].query == {"limit": "1"}


def test_a_version_that_has_moved_on_is_no_restore(here: World) -> None:
    """The watch tells what has happened since, and a version of now that equals the last one seen is all well."""
    here.server.on_list(listing(10, []))
    here.server.on_watch(cut(bookmark(12)), cut())
    here.server.on_version(listing(12, []), listing(500, []))
    here.start()
    here.until_watch(3)
    assert (here.versions(), here.reflector.counts.lists) == (["10", "12", "12"], 1)


@pytest.mark.parametrize(
    "block", [event("MODIFIED", pod("a", 9)), event("DELETED", pod("a", 9)), bookmark(9)], ids=["change", "end", "mark"]
)
def test_what_is_older_than_its_watch_is_of_another_history(here: World, block: object) -> None:
    """It is not believed, and the state is listed again."""
    here.server.on_list(listing(10, [pod("a", 8)]), listing(11, [pod("a", 9)]))
    here.server.on_watch(watching(block))
    here.start()
    here.until_watch(2)
    assert here.sink.calls == [("replaced", "10", "a"), ("replaced", "11", "a")]


def test_a_restored_storage_that_has_moved_past_what_was_seen_is_listed_as_usual(here: World) -> None:
    """Its revision was bumped: every watch is too old then, and the list knows better than what was seen before."""
    here.server.on_list(listing(10, [pod("a", 10)]), listing(1_000_011, [pod("a", 8)]))
    here.server.on_watch(cut(bookmark(12)), refusing(410, "Expired"))
    here.start()
    here.until_watch(3)
    assert here.sink.calls == [("replaced", "10", "a"), ("replaced", "1000011", "a")]


PAGES: list[Step] = [
    lambda exchange: exchange.answer(404, b"<html>default backend - 404</html>"),
    refusing(404, "NotFound"),
    lambda exchange: exchange.answer(200, b"<html>welcome</html>"),
    lambda exchange: exchange.answer(200, {"metadata": {"resourceVersion": "9"}}),
]


@pytest.mark.parametrize("page", PAGES, ids=["default backend", "status", "welcome", "another object"])
def test_a_load_balancer_without_a_backend_never_empties_the_view(here: World, page: Step) -> None:
    """Whatever it answers to lists, to watches and to the question for the version: each is a failure with a pause."""
    here.server.on_list(page, listing(10, [pod("a", 9)]), page, listing(11, [pod("a", 9)]))
    here.server.on_watch(cut(bookmark(10)), *[page] * 8)
    here.server.on_version(page)
    here.start()
    here.until_watch(4)
    assert {call[0] for call in here.sink.calls} == {"replaced"}
    assert here.sink.objects == {"a": 9}
    assert len(here.stopping.pauses) >= 4
