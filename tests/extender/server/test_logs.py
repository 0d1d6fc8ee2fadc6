"""Log records become lines of JSON or of plain text."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from extender.server.logs import JsonFormatter, start_logging


@pytest.fixture(autouse=True)
def _own_root() -> Iterator[None]:
    """The root logger's handlers and levels as they were."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = []
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_each_record_is_one_json_object_on_one_line() -> None:
    """Time, level, logger and message; line ends and quotes inside the message do no harm."""
    stream = io.StringIO()
    start_logging("info", stream=stream)
    logging.getLogger("extender.x").warning("two\nlines of %s", '"text" ü')
    (line,) = stream.getvalue().splitlines()
    body = json.loads(line)
    assert body.pop("time").endswith("+00:00")
    assert body == {"level": "warning", "logger": "extender.x", "message": 'two\nlines of "text" ü'}


def test_an_exception_is_in_the_object() -> None:
    """As a traceback."""
    record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "failed", (), None)
    try:
        int("no")
    except ValueError as error:
        record.exc_info = (ValueError, error, error.__traceback__)
    assert "ValueError: invalid literal" in json.loads(JsonFormatter().format(record))["traceback"]


def test_the_level_is_respected_and_libraries_are_kept_quiet() -> None:
    """Debug of ours, nothing below warning of the HTTP client."""
    stream = io.StringIO()
    start_logging("debug", stream=stream)
    logging.getLogger("extender.x").debug("ours")
    logging.getLogger("urllib3.connectionpool").debug("theirs")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["ours"]


def test_people_at_a_terminal_get_text() -> None:
    """No JSON there."""
    stream = Terminal()
    start_logging("info", stream=stream)
    logging.getLogger("extender.x").info("hello")
    assert stream.getvalue().endswith("INFO    extender.x: hello\n")
