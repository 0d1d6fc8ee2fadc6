"""JSON that a decoder refuses as a whole is taken apart, and mended where nothing that counts is lost."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.kube.salvage import elements, members, without_managed_fields

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)
INDENTS = st.sampled_from([None, 0, 2])


def _unescaped(value: Any, indent: int | None) -> str:
    return json.dumps(value, indent=indent, ensure_ascii=False)


@given(st.lists(VALUES), INDENTS, st.sampled_from([json.dumps, _unescaped]))
def test_the_elements_of_an_array_are_what_a_decoder_finds(values: list[Any], indent: int | None, dumps: Any) -> None:
    """With any blanks, and brackets, commas and escapes inside strings."""
    raw = dumps(values, indent=indent).encode()
    assert values == [json.loads(part) for part in elements(raw)]


@given(st.dictionaries(st.sampled_from(["items", "metadata", "kind", "x"]), VALUES), INDENTS)
def test_the_members_of_an_object_are_what_a_decoder_finds(values: dict[str, Any], indent: int | None) -> None:
    """By key."""
    raw = json.dumps(values, indent=indent).encode()
    assert values == {key: json.loads(part) for key, part in members(raw).items()}


@pytest.mark.parametrize("raw", [b"", b"   ", b"3", b"[", b'["a]', b"[[]", b'{"a":[}', b'["\\"]'])
def test_what_has_no_end_is_refused(raw: bytes) -> None:
    """Where its parts lie is not known."""
    with pytest.raises(ValueError, match=r"expected|end|close"):
        elements(raw)


@given(st.binary(max_size=200))
def test_any_bytes_are_taken_or_refused(raw: bytes) -> None:
    """Never another exception."""
    for take in (elements, members):
        try:
            take(raw)
        except ValueError:
            continue
    without_managed_fields(raw)


def test_nesting_costs_no_recursion() -> None:
    """A hundred thousand levels are a value as any other."""
    deep = b"[" * 100_000 + b"]" * 100_000
    assert elements(b"[1,%b,2]" % deep) == [b"1", deep, b"2"]


def test_managed_fields_are_cut_out_however_deep_they_are() -> None:
    """All else stays as it is."""
    deep = b'{"f:a":' * 1500 + b"{}" + b"}" * 1500
    raw = b'{"metadata":{"name":"p","managedFields":[%b],"labels":{"a":"b"}},"spec":{}}' % deep
    expected = {"metadata": {"name": "p", "managedFields": None, "labels": {"a": "b"}}, "spec": {}}
    assert expected == json.loads(without_managed_fields(raw))


@given(st.dictionaries(st.sampled_from(["managedFields", "a", "labels"]), st.text('managedFields":[]\\', max_size=30)))
def test_texts_that_look_like_managed_fields_stay(labels: dict[str, str]) -> None:
    """A tenant may write them into any annotation."""
    raw = json.dumps({"metadata": {"annotations": labels, "managedFields": [labels]}, "spec": labels}).encode()
    expected = {"metadata": {"annotations": labels, "managedFields": None}, "spec": labels}
    assert expected == json.loads(without_managed_fields(raw))
