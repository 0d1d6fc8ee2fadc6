"""Lines come out whole, however the network cuts them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.kube.watchstream import LineSplitter, LineTooLongError


@given(st.lists(st.binary(min_size=1, max_size=30).filter(lambda line: b"\n" not in line)), st.data())
def test_any_cut_gives_the_same_lines(lines: list[bytes], data: st.DataObject) -> None:
    """Only lines of white space are dropped."""
    text = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=10)))
    splitter = LineSplitter()
    actual = [
        line
        for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)
        for line in splitter.feed(text[start:end])
    ]
    assert [line for line in lines if line.strip()] == actual
    assert splitter.pending_bytes == 0


def test_what_has_begun_is_counted() -> None:
    """Bytes of the line whose end has not come."""
    splitter = LineSplitter()
    assert splitter.feed(b"one\ntw") == [b"one"]
    assert splitter.pending_bytes == 2
    assert splitter.feed(b"o\n") == [b"two"]
    assert splitter.pending_bytes == 0


def test_a_line_beyond_the_bound_is_refused() -> None:
    """Before its end has come: memory is bounded whatever the server sends."""
    splitter = LineSplitter(max_line_bytes=10)
    assert splitter.feed(b"x" * 10) == []
    with pytest.raises(LineTooLongError, match="more than 11 bytes: at most 10"):
        splitter.feed(b"x")
