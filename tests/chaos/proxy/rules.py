"""Says which requests a fault hits: by what they are, where they go, and by chance."""

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from bench.simulated.apiserver.http11 import HttpRequest
from tests.chaos.proxy.faults import Fault, is_watch

WATCH, LIST, PAGE, READ, BINDING, PATCH, CREATE = "watch", "list", "page", "read", "binding", "patch", "create"
READS = (WATCH, LIST, PAGE, READ)
WRITES = (BINDING, PATCH, CREATE)
ALL = (*READS, *WRITES)
_COLLECTIONS = ("pods", "nodes", "events", "leases", "poddisruptionbudgets", "namespaces", "priorityclasses")


def kind_of(request: HttpRequest) -> str:
    """What a request is; `page` is any page of a list but the first."""
    if request.method == "GET":
        if is_watch(request):
            return WATCH
        if "continue" in request.query:
            return PAGE
        return LIST if request.path.rsplit("/", 1)[-1] in _COLLECTIONS else READ
    if request.path.endswith("/binding"):
        return BINDING
    return CREATE if request.method == "POST" else PATCH


@dataclass(frozen=True, slots=True)
class Rule:
    """A fault and the requests that it hits.

    Args:
        fault: what happens.
        kinds: to which kinds of requests.
        path: only where the path contains this.
        share: of them, drawn for each request; a watch stays hit or spared while it lives.
    """

    fault: Fault
    kinds: Sequence[str] = ALL
    path: str = ""
    share: float = 1.0

    def fits(self, request: HttpRequest) -> bool:
        """Whether it is about such requests."""
        return kind_of(request) in self.kinds and self.path in request.path


class RuleBook:
    """The rules in force, of which the first that hits counts; safe to use from many threads.

    Args:
        seed: of the chances.
    """

    def __init__(self, seed: int = 0) -> None:
        self._draws = random.Random(seed)
        self._lock = threading.Lock()
        self._rules: tuple[Rule, ...] = ()
        self._harmless = Fault()

    def set(self, *rules: Rule) -> None:
        """Put these in force instead of those before."""
        with self._lock:
            self._rules = rules

    def fault_for(self, request: HttpRequest, luck: float | None = None) -> Fault:
        """What happens to a request; `luck` from 0 to 1 decides instead of a new draw."""
        with self._lock:
            drawn = self._draws.random() if luck is None else luck
            for rule in self._rules:
                if rule.fits(request) and drawn < rule.share:
                    return rule.fault
        return self._harmless

    def draw(self) -> float:
        """A number from 0 to 1 to decide a request by, for as long as it lives."""
        with self._lock:
            return self._draws.random()
