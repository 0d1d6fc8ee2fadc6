"""Failing answers become errors that say what the server said."""

import pytest

from extender.kube.errors import ApiError, error_of_answer, error_of_event


def parts(error: ApiError) -> tuple[int, str, str, float | None]:
    """An error as a value."""
    return error.status, error.reason, error.message, error.retry_after_s


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"kind":"Status","code":409,"reason":"Conflict","message":"bound"}', (409, "Conflict", "bound", None)),
        (b'{"reason":"X","details":{"retryAfterSeconds":3}}', (409, "X", "", 3.0)),
        (b"{}", (409, "phrase", "", None)),
        (b"<html>", (409, "phrase", "<html>", None)),
        (b"\xff", (409, "phrase", "\ufffd", None)),
        (b"", (409, "phrase", "", None)),
    ],
)
def test_an_answer_is_told_by_its_status_object_or_its_text(
    body: bytes, expected: tuple[int, str, str, float | None]
) -> None:
    """The HTTP status always wins over the body's code."""
    assert parts(error_of_answer(409, "phrase", {}, body)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("7", 7.0), ("0", 0.0), ("-1", None), ("soon", None), ("Wed, 21 Oct 2015 07:28:00 GMT", None)],
)
def test_retry_after_is_whole_seconds_or_absent(text: str, expected: float | None) -> None:
    """API servers send seconds; a date is not understood rather than misread."""
    assert error_of_answer(429, "", {"Retry-After": text}, b"").retry_after_s == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"code":410,"reason":"Expired","message":"too old"}', (410, "Expired", "too old", None)),
        (b"{}", (500, "Unknown", "", None)),
        (b"[1]", (500, "Unknown", "[1]", None)),
    ],
)
def test_an_error_event_is_told_by_its_status_object(raw: bytes, expected: tuple[int, str, str, float | None]) -> None:
    """One without a code is an internal error."""
    assert parts(error_of_event(raw)) == expected
