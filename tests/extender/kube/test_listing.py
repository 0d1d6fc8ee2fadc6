"""List pages and watch lines are opened without touching the objects inside."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.kube.listing import EnvelopeError, ListPage, WatchEvent, name_of, parse_event, parse_list_page
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


@given(st.binary(max_size=60))
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
