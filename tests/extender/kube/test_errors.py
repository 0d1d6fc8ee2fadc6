"""Failing answers become errors that say what the server said."""

import pytest

from extender.kube.errors import ApiError, error_of_answer, error_of_event, is_success


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


@pytest.mark.parametrize(
    ("body", "about"),
    [
        (b'{"kind":"Status","details":{"kind":"pods","name":"a"}}', ("pods", "a")),
        (b'{"kind":"Status","details":{}}', ("", "")),
        (b'{"kind":"Status"}', ("", "")),
        (b'{"details":{"kind":"pods","name":"a"}}', None),
        (b"404 page not found", None),
    ],
)
def test_an_error_says_which_object_a_status_object_is_about(body: bytes, about: tuple[str, str] | None) -> None:
    """None when anybody on the way may have answered."""
    assert error_of_answer(404, "Not Found", {}, body).about == about


GONE = b'{"kind":"Status","status":"Failure","reason":"NotFound","details":{"kind":"pods","name":"a"}}'


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (404, GONE, True),
        (404, GONE.replace(b'"a"', b'"b"'), False),
        (404, GONE.replace(b"pods", b"namespaces"), False),
        (404, GONE.replace(b"NotFound", b"Expired"), False),
        (
            404,
            b'{"kind":"Status","reason":"NotFound","message":"the server could not find the requested resource"}',
            False,
        ),
        (404, b"<html>default backend</html>", False),
        (409, GONE, False),
    ],
)
def test_only_a_status_about_the_very_object_says_that_it_is_gone(status: int, body: bytes, *, expected: bool) -> None:
    """A load balancer without a backend answers 404 for everything."""
    assert error_of_answer(status, "Not Found", {}, body).says_gone("pods", "a") is expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","code":201}', True),
        (b'{"kind":"Status","status":"Failure"}', False),
        (b'{"status":"Success"}', False),
        (b"<html>", False),
        (b"", False),
    ],
)
def test_success_is_a_status_object_that_says_so(body: bytes, *, expected: bool) -> None:
    """The answer to a Binding."""
    assert is_success(body) is expected
