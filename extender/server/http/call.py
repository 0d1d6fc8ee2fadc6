"""Describes how one path is answered without the web framework: in the event loop, or by a thread."""

from collections.abc import Callable
from dataclasses import dataclass

JSON_TYPE = "application/json"

Answer = tuple[int, bytes]
"""Status and body."""


@dataclass(frozen=True, slots=True)
class Call:
    """How one path is answered; neither way raises anything.

    Args:
        answer: from the request's body to the answer; may take its time, so it runs in a thread.
        at_once: the same without waiting for anything, so it runs in the event loop; None in its place means that
            this request has to wait after all, and `answer` is called.
        afterwards: runs once an answer is on its way: work that no client should wait for.
        alone: it needs nothing but this process, and does not queue behind calls that wait for the API server.
        method: the only method that is taken; GET includes HEAD.
        content_type: of the answer.
    """

    answer: Callable[[bytes], Answer]
    at_once: Callable[[bytes], Answer | None] | None = None
    afterwards: Callable[[], None] | None = None
    alone: bool = False
    method: str = "POST"
    content_type: str = JSON_TYPE
