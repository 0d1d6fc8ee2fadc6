"""Describes the faults that a test orders from the simulated API server, and which requests they hit."""

from dataclasses import dataclass, field, replace

from bench.simulated.apiserver.http11 import HttpRequest


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to matching requests.

    Args:
        method: HTTP method to match; empty matches all.
        path: text that the path must contain.
        times: how many requests it hits before it is over.
        delay_s: wait before the answer is sent; the request itself is carried out at once.
        late_s: wait before the request is carried out, which it is even when the client has left meanwhile.
        status: answer this code; 0 answers as usual.
        body: answer this, as a proxy does its pages, instead of a Status.
        carried_out: carry the request out although another answer than usual is given.
        cut: break off in the middle of the answer.
    """

    method: str = ""
    path: str = ""
    times: int = 1
    delay_s: float = 0.0
    late_s: float = 0.0
    status: int = 0
    body: bytes = b""
    carried_out: bool = False
    cut: bool = False

    def __post_init__(self) -> None:
        if self.times < 1 or min(self.delay_s, self.late_s) < 0:
            text = f"fault: times is {self.times}, delay_s {self.delay_s}, late_s {self.late_s}"
            raise ValueError(f"{text}; expected at least 1, 0 and 0")

    def hits(self, request: HttpRequest) -> bool:
        """Whether it applies to a request."""
        return self.path in request.path and self.method in ("", request.method)


@dataclass(slots=True)
class FaultPlan:
    """Pending faults, in order; each request uses up the first that matches."""

    pending: list[Fault] = field(default_factory=list)

    def take(self, request: HttpRequest) -> Fault | None:
        """The fault for a request, if any, counted down."""
        for position, fault in enumerate(self.pending):
            if fault.hits(request):
                if fault.times == 1:
                    del self.pending[position]
                else:
                    self.pending[position] = replace(fault, times=fault.times - 1)
                return fault
        return None
