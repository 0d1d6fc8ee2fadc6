"""Names that are looked for in JSON are found exactly when they are in the decoded list."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from extender.server.nodenames import NodeNames

NAMES = st.text(st.sampled_from('abn1."\\,[]{} é\n'), max_size=4)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers(0, 9) | NAMES, lambda inner: st.lists(inner, max_size=4), max_leaves=6
)


@given(st.lists(NAMES, max_size=6), st.lists(NAMES, min_size=1), st.booleans(), st.booleans())
@example(['a"n1'], ["n1"], False, False)
@example(["a,b"], ["a", "b", "a,b"], False, False)
@example([], ["", "["], True, False)
@example(["", ""], [","], False, False)
@example(["n" * 30], ["n"], False, False)
def test_it_holds_what_the_list_holds(names: list[str], others: list[str], spaced: bool, escaped: bool) -> None:  # noqa: FBT001
    """Whatever characters they have, however the JSON is written."""
    text = json.dumps(names, separators=(" , ", ":") if spaced else (",", ":"), ensure_ascii=escaped).encode()
    asked = NodeNames(text)
    assert len(asked) == len(names)
    for name in [*names, *others]:
        assert (name in asked) == (name in names)
    assert list(asked) == names
    for name in [*names, *others]:
        assert (name in asked) == (name in names)


@given(VALUES)
def test_anything_but_a_list_of_strings_is_refused(value: Any) -> None:
    """At once, not when somebody looks."""
    text = json.dumps(value).encode()
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        assert list(NodeNames(text)) == value
    else:
        with pytest.raises(msgspec.MsgspecError):
            NodeNames(text)
