"""The address says what is shown; nonsense in it is refused with the field, the value and what was expected."""

import pytest

from extender.server.page.query import Query, QueryError, parse_query


def test_an_empty_address_shows_everything() -> None:
    """And has an empty text."""
    assert parse_query({}) == Query()
    assert Query().text() == ""


def test_an_address_is_read_and_written_back() -> None:
    """Only what was chosen is in it; special characters are quoted."""
    chosen = {"q": "a&b=c d", "group": "A100 + T4", "state": "free", "sort": "used", "colour": "workload", "page": "3"}
    query = parse_query(chosen)
    assert query == Query("a&b=c d", "A100 + T4", "free", "used", "workload", 3)
    assert query.text() == "q=a%26b%3Dc+d&group=A100+%2B+T4&state=free&sort=used&colour=workload&page=3"
    assert query.link(page=1, q="", group="") == "?state=free&sort=used&colour=workload"


def test_unknown_parameters_are_ignored() -> None:
    """A newer page may know more."""
    assert parse_query({"theme": "pink"}) == Query()


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("state", "broken", "state is 'broken', expected one of free, idle, full, problem, or nothing"),
        ("sort", "x", "sort is 'x', expected one of free, used, or nothing"),
        ("colour", "x", "colour is 'x', expected one of namespace, workload, or nothing"),
        ("page", "two", "page is 'two', expected a number such as 2"),
        ("page", "-1", "page is '-1', expected a number such as 2"),
        ("page", "0", "page is 0, expected 1 or more"),
        ("page", "٣", "page is '٣', expected a number such as 2"),
        ("q", "x" * 201, "q has 201 characters, expected at most 200"),
    ],
)
def test_nonsense_is_refused(field: str, value: str, text: str) -> None:
    """With what was expected."""
    with pytest.raises(QueryError) as error:
        parse_query({field: value})
    assert str(error.value) == text


def test_narrowed_says_whether_nodes_may_be_left_out() -> None:
    """An order or a colour leaves none out."""
    assert [Query(q="a").narrowed, Query(state="free").narrowed, Query(sort="used", colour="workload").narrowed] == [
        True,
        True,
        False,
    ]
