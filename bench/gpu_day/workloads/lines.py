"""Answers commands that come as JSON lines, one line each, until the input ends."""

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

Handler = Callable[..., Mapping[str, Any]]


def say(answer: Mapping[str, Any]) -> None:
    """Write one answer."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def serve_lines(handlers: Mapping[str, Handler]) -> None:
    """Reply each command `{"do": name, ...}` with its handler; what a handler raises is told as `error`."""
    for line in sys.stdin:
        command = json.loads(line)
        handler = handlers[command.pop("do")]
        try:
            answer = handler(**command)
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent must be told, and decides
            answer = {"error": f"{type(error).__name__}: {error}"}
        say(answer)
