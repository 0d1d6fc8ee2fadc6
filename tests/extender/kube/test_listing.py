"""List pages and watch lines are opened without touching the objects inside."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.kube.errors import AnswerTooLargeError
from extender.kube.listing import (
    EnvelopeError,
    ListPage,
    WatchEvent,
    list_pages,
    name_of,
    parse_event,
    parse_list_page,
    version_of,
)
from extender.kube.objects import Identity

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.lists(VALUES), st.text(min_size=1), st.text())
def test_items_are_their_own_bytes(items: list[Any], version: str, token: str) -> None:
    """Whatever they are: what is wrong with one object is for its decoder to say."""
    texts = [json.dumps(item).encode() for item in items]
    metadata = json.dumps({"resourceVersion": version, "continue": token}).encode()
    actual = parse_list_page(b'{"kind":"PodList","metadata":%b,"items":[%b]}' % (metadata, b" ,\n".join(texts)))
    assert ListPage(tuple(texts), version, token) == actual


@pytest.mark.parametrize("kind", ["ADDED", "MODIFIED", "DELETED", "BOOKMARK"])
def test_an_event_carries_its_objects_version(kind: str) -> None:
    """And its object as it came."""
    raw = b'{ "metadata":{"resourceVersion":"12","name":"a"}, "spec":{} }'
    actual = parse_event(b'{"type":"%b","object":%b}' % (kind.encode(), raw))
    assert (actual.kind, actual.raw, actual.identity.resource_version) == (kind, raw, "12")


def test_an_error_event_needs_no_version() -> None:
    """Its object is a Status."""
    assert parse_event(b'{"type":"ERROR","object":{"code":410}}') == WatchEvent("ERROR", b'{"code":410}', Identity())


@given(st.binary(max_size=60).filter(lambda text: b'"type"' not in text))
def test_any_other_bytes_are_an_envelope_error(text: bytes) -> None:
    """Never another exception: the loop knows what to do with this one."""
    for parse in (parse_list_page, parse_event):
        with pytest.raises(EnvelopeError, match=r"of \d+ bytes: "):
            parse(text)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"metadata":{"namespace":"team","name":"train-0"}}', "team/train-0"),
        (b'{"metadata":{"name":"node-a"}}', "node-a"),
        (b'{"metadata":3}', "an object of 14 bytes without readable metadata"),
    ],
)
def test_objects_are_named_for_the_log(raw: bytes, expected: str) -> None:
    """As kubectl writes them."""
    assert name_of(raw) == expected


class Collection:
    """Objects of the sizes given, in pages; answers that are too large are refused, as the client does."""

    def __init__(self, sizes: list[int]) -> None:
        self._items = [b'{"x":"%b"}' % (b"x" * size) for size in sizes]
        self.largest_bytes = 0

    def list_page(
        self, _path: str, limit: int, continue_token: str, _timeout_s: float, max_bytes: int | None = None
    ) -> bytes:
        """One page; the token is where the next one begins."""
        start = int(continue_token or 0)
        items = self._items[start : start + limit]
        end = str(start + len(items)) if start + len(items) < len(self._items) else ""
        metadata = json.dumps({"resourceVersion": "7", "continue": end}).encode()
        if max_bytes is not None and sum(map(len, items)) + 100 > max_bytes:
            raise AnswerTooLargeError(f"answer of more than {max_bytes} bytes")
        body = b'{"kind":"PodList","metadata":%b,"items":[%b]}' % (metadata, b",".join(items))
        self.largest_bytes = max(self.largest_bytes, len(body))
        return body


@given(st.lists(st.sampled_from([1, 100, 900, 5000]), max_size=60))
def test_pages_keep_within_their_bytes_and_lose_nothing(sizes: list[int]) -> None:
    """Thin objects before fat ones, fat ones before thin ones, and single ones that pass the bound by themselves."""
    collection = Collection(sizes)
    found = [
        item
        for page in list_pages(collection, "/api/v1/pods", 1.0, page_items=50, page_bytes=2000)
        for item in page.items
    ]
    assert [size + 8 for size in sizes] == [len(item) for item in found]
    assert collection.largest_bytes <= max(2000, max(sizes, default=0) + 100)


def test_the_page_size_follows_the_bytes_of_the_page_before() -> None:
    """Half of the bound is the aim; where objects are thin again, pages grow again."""
    pages = list_pages(
        Collection([1] * 10 + [390] * 10 + [1] * 60), "/api/v1/pods", 1.0, page_items=10, page_bytes=4000
    )
    assert [len(page.items) for page in pages] == [10, 1, 4, 4, 4, 10, 10, 10, 10, 10, 7]


def test_a_list_of_fat_objects_takes_a_bounded_amount_of_memory() -> None:
    """520 of 100 kB are 52 MB; a page may have 1 MB, and three of them may be in memory at a time."""
    collection = Collection([100_000] * 520)
    tracemalloc.start()
    try:
        for page in list_pages(collection, "/api/v1/pods", 1.0, page_bytes=2**20):
            assert page.items
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4 * 2**20


def test_the_version_of_now_is_asked_for_without_a_selector() -> None:
    """With one, some API servers would search their storage for a single pod of a node that has none."""
    asked: list[tuple[str, int]] = []

    class Source:
        def list_page(
            self, path: str, limit: int, _token: str, _timeout_s: float, _max_bytes: int | None = None
        ) -> bytes:
            """The version, and what is asked for."""
            asked.append((path, limit))
            return b'{"kind":"PodList","metadata":{"resourceVersion":"7","continue":"x"},"items":[{}]}'

    assert version_of(Source(), "/api/v1/pods?fieldSelector=spec.nodeName=a", 1.0) == "7"
    assert asked == [("/api/v1/pods", 1)]
