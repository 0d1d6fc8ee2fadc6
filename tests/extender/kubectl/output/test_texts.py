"""Amounts, names and counts as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.kubectl.output.texts import counted, listed, natural, of_mib


@pytest.mark.parametrize(
    ("size_mib", "text"),
    [(None, "-"), (0, "0Gi"), (768, "0.75Gi"), (8192, "8Gi"), (10240 * 1024, "10.0Ti"), (2178110 * 1024, "2,127.1Ti")],
)
def test_memory(size_mib: float | None, text: str) -> None:
    """Unknown is no number."""
    assert of_mib(size_mib) == text


@given(st.floats(0, 1e12, allow_nan=False))
def test_memory_has_no_exponent(size_mib: float) -> None:
    """Nobody reads 2e+06."""
    assert "e" not in of_mib(size_mib)


def test_names_sort_by_their_numbers() -> None:
    """As people count."""
    assert sorted(["node-10", "node-2", "a", "node-2b", "10"], key=natural) == [
        "10",
        "a",
        "node-2",
        "node-2b",
        "node-10",
    ]


@given(st.lists(st.text(max_size=12)))
def test_any_names_can_be_sorted(names: list[str]) -> None:
    """And equal keys are equal names."""
    assert sorted(sorted(names, key=natural)) == sorted(names)
    assert len({natural(name) for name in names}) == len(set(names))


def test_more_digits_than_a_number_has_are_sorted_as_text() -> None:
    """Python reads 4,300 at most."""
    long = "n" + "9" * 5000
    assert sorted([long, "n10", "n2"], key=natural) == ["n2", "n10", long]


def test_counts_and_lists() -> None:
    """With their plural, and not longer than can be read."""
    assert [counted(1, "node"), counted(2, "node"), counted(5000, "GPU")] == ["1 node", "2 nodes", "5,000 GPUs"]
    assert [listed(["a", "b"]), listed(["a", "b", "c", "d", "e"])] == ["a, b", "a, b, c and 2 more"]
