"""What kube-scheduler's calls are answered with: from a path's body to its answer, at once, soon or by a thread."""

from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass

Answer = tuple[int, bytes]
"""Status and JSON."""

BROWSERS_SEND = frozenset({b"origin", b"sec-fetch-site"})
"""Headers that scripts of web pages can't leave out, and kube-scheduler never sends."""


@dataclass(frozen=True, slots=True)
class Call:
    """How one path is answered from its body; none of the ways raises anything.

    `answer` may take its time, so it gets a thread. `at_once` computes and waits for nobody, so it runs in the event
    loop; None says that this one has to wait after all, and `answer` is asked. `soon` waits without a thread, as far as
    it can.
    """

    answer: Callable[[bytes], Answer]
    at_once: Callable[[bytes], Answer | None] | None = None
    soon: Callable[[bytes, Executor], Awaitable[Answer]] | None = None
