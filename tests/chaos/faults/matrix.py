"""The table of faults: a row for each, so that one more is one more line."""

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.chaos.faults.disturbances import (
    Away,
    Disturbance,
    Paused,
    Repeated,
    Rules,
    Storm,
    Together,
    compact,
    cut_connections,
    hiccup,
    restart_plugins,
    restart_scheduler,
)
from tests.chaos.faults.history import AuthorityChanges, Restored, TokenChanges
from tests.chaos.faults.processes import (
    ClockJumps,
    Crowded,
    FewDescriptors,
    FewerDescriptors,
    Frozen,
    FullDisk,
    Killed,
    no_compiler,
    no_root,
)
from tests.chaos.proxy.exchange import Answer
from tests.chaos.proxy.faults import (
    HTML,
    AnswersLate,
    CarriesOutLate,
    Chooses,
    Dies,
    Drips,
    Fault,
    Garbles,
    Loses,
    Pages,
    Replies,
    Stalls,
    Truncates,
    replies,
    replies_html,
)
from tests.chaos.proxy.rules import BINDING, LIST, PAGE, READ, READS, WATCH, WRITES, Rule
from tests.chaos.proxy.streams import Drops, Duplicates, Ends, HalvesLines, Lags, Reorders
from tests.chaos.world.cluster import ClusterShape

Make = Callable[[int], Disturbance]


@dataclass(frozen=True, slots=True)
class Row:
    """One fault.

    Args:
        name: its name, unique.
        what: what happens, as a half-sentence for the documentation.
        make: the fault for a seed.
        seconds: how long it lasts.
        short: whether it belongs to the short part too.
        real: whether it is run on a real control plane too.
        shape: the cluster.
        within_s: time after the fault in which everything that fits must be bound.
        tolerates: what may happen here and nowhere else: "rejected" (a kubelet refuses a pod), "planned" (two programs
            plan the same memory, of which the kubelet gives it to one).
        skip_because: why it cannot be run here; empty when it can.
    """

    name: str
    what: str
    make: Make
    seconds: float = 5.0
    short: bool = False
    real: bool = False
    shape: ClusterShape = field(default_factory=ClusterShape)
    within_s: float = 20.0
    tolerates: frozenset[str] = frozenset()
    skip_because: Callable[[], str] = lambda: ""


def _rules(*rules: Rule) -> Make:
    return lambda _: Rules(*rules)


def _lies(seed: int) -> Disturbance:
    """Bindings that are answered as written and are not: an empty object, a page, half a Status."""
    answers = (
        Answer(201, b"{}"),
        Answer(200, HTML, "text/html"),
        Answer(201, b'{"kind":"Status","apiVersion":"v1","st'),
    )
    return Rules(Rule(Chooses((Fault(), *(Replies(answer) for answer in answers)), seed), (BINDING,)))


def _anything(seed: int) -> Disturbance:
    """Another fault every moment."""
    return Storm(
        (
            *(Rule(replies(code, reason), share=0.5) for code, reason in _FAILURES.items()),
            Rule(replies(429, "TooManyRequests", retry_after_s=1), share=0.5),
            Rule(replies(504, "Timeout", carried_out=True), WRITES, share=0.5),
            Rule(replies(410, "Expired"), READS),
            Rule(replies(409, "Conflict"), WRITES, share=0.7),
            Rule(replies_html(502)),
            Rule(Truncates(), share=0.5),
            Rule(Truncates(resets=False), share=0.5),
            Rule(Loses(), WRITES, share=0.7),
            Rule(CarriesOutLate(4.0), (BINDING,), share=0.5),
            Rule(AnswersLate(3.0), share=0.5),
            Rule(Drips()),
            Rule(Stalls()),
            Rule(Stalls(carries_out=True)),
            Rule(Garbles(seed), share=0.5),
            Rule(Duplicates(seed), (WATCH,)),
            Rule(Reorders(seed=seed), (WATCH,)),
            Rule(HalvesLines(seed=seed), (WATCH,)),
            Rule(Drops(), (WATCH,)),
            Rule(Ends(0.2), (WATCH,)),
        ),
        seed,
    )


_FAILURES = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 500: "InternalError", 503: "ServiceUnavailable"}

_LIGHT = ClusterShape(light=True)
_SECURED = ClusterShape(secured=True)

ROWS: tuple[Row, ...] = (
    Row("none", "nothing, to compare with", lambda _: Rules()),
    Row("away-1s", "the API server refuses connections, 1 s", lambda _: Away(), 1.0),
    Row("away-5s", "the API server refuses connections, 5 s", lambda _: Away(), 5.0, short=True, real=True),
    Row("away-30s", "the API server refuses connections, 30 s", lambda _: Away(), 30.0),
    Row(
        "rst-mid-body",
        "every other answer breaks off with a reset",
        _rules(Rule(Truncates(), share=0.5)),
        short=True,
        real=True,
    ),
    Row("fin-mid-body", "every other answer breaks off", _rules(Rule(Truncates(resets=False), share=0.5))),
    Row(
        "half-lines",
        "a third of the watches' lines is cut in half",
        lambda seed: Rules(Rule(HalvesLines(seed=seed), (WATCH,))),
        short=True,
    ),
    Row(
        "duplicates",
        "each event comes twice, old ones come again",
        lambda seed: Rules(Rule(Duplicates(seed), (WATCH,))),
        short=True,
    ),
    Row(
        "reordered",
        "events come in another order, those of one pod too",
        lambda seed: Rules(Rule(Reorders(seed=seed), (WATCH,))),
        short=True,
        real=True,
    ),
    Row("410-always", "every read is answered with 410", _rules(Rule(replies(410, "Expired"), READS))),
    Row(
        "410-mid-list",
        "half of the later pages of lists answer 410, watches end",
        lambda seed: Together(
            (
                Repeated(cut_connections, 0.7),
                Rules(Rule(Drops(0.3), (WATCH,)), Rule(Pages(expires=0.5, seed=seed), (LIST, PAGE))),
            )
        ),
        short=True,
    ),
    Row("410-mid-watch", "events vanish and the watches end as expired", _rules(Rule(Drops(), (WATCH,)))),
    Row("compacted", "the history is compacted twice a second", lambda _: Repeated(compact, 0.5)),
    Row("429", "every other request is answered with 429", _rules(Rule(replies(429, "TooManyRequests"), share=0.5))),
    Row(
        "429-retry-after",
        "all writes are answered with 429 and Retry-After",
        _rules(Rule(replies(429, "TooManyRequests", retry_after_s=1), WRITES)),
        short=True,
    ),
    Row(
        "429-retry-after-an-hour",
        "half of all requests are answered with 429 and a Retry-After of an hour",
        _rules(Rule(replies(429, "TooManyRequests", retry_after_s=3600), share=0.5)),
    ),
    Row("500", "every other request is answered with 500", _rules(Rule(replies(500, "InternalError"), share=0.5))),
    Row("503", "every request is answered with 503", _rules(Rule(replies(503, "ServiceUnavailable")))),
    Row(
        "504-after-effect",
        "writes are carried out and answered with 504",
        _rules(Rule(replies(504, "Timeout", carried_out=True), WRITES)),
        short=True,
    ),
    Row(
        "late-bindings",
        "Bindings are carried out 8 s late",
        _rules(Rule(CarriesOutLate(8.0), (BINDING,), share=0.5)),
        short=True,
    ),
    Row(
        "late-bindings-light",
        "Bindings are carried out 8 s late, where no kubelet refuses a pod",
        _rules(Rule(CarriesOutLate(8.0), (BINDING,), share=0.5)),
        shape=_LIGHT,
        real=True,
    ),
    Row("late-answers", "answers come 3 s after the effect", _rules(Rule(AnswersLate(3.0)))),
    Row("slow", "every request is carried out 1 s late", _rules(Rule(CarriesOutLate(1.0)))),
    Row("lost-bindings", "Bindings are written, their answers lost", _rules(Rule(Loses(), (BINDING,)))),
    Row("lying-bindings", "Bindings are answered with 2xx and not written", _lies, short=True, real=True),
    Row(
        "conflicts",
        "writes are answered with 409",
        _rules(Rule(replies(409, "Conflict"), WRITES, share=0.8)),
        short=True,
    ),
    Row("forbidden", "everything is answered with 403", _rules(Rule(replies(403, "Forbidden")))),
    Row("unauthorized", "everything is answered with 401", _rules(Rule(replies(401, "Unauthorized")))),
    Row("drip", "answers come 40 bytes at a time", _rules(Rule(Drips())), short=True),
    Row("stalled", "all sockets stall, then go on", _rules(Rule(Stalls()))),
    Row(
        "stalled-writes",
        "requests are carried out, their answers stall",
        _rules(Rule(Stalls(carries_out=True), (*WRITES, READ))),
    ),
    Row(
        "garbage",
        "random bytes come as answers and in watches",
        lambda seed: Rules(Rule(Garbles(seed), share=0.6)),
        short=True,
    ),
    Row("short-watches", "each watch ends after 1 s", _rules(Rule(Ends(1.0), (WATCH,)))),
    Row("resets", "all connections are reset every 0.3 s", lambda _: Repeated(cut_connections, 0.3)),
    Row(
        "404-of-a-load-balancer",
        "everything answers 404 with a page",
        _rules(Rule(replies_html(404))),
        6.0,
        short=True,
        real=True,
    ),
    Row(
        "404-of-a-load-balancer-for-reads",
        "reads answer 404 with a page, Bindings are written",
        _rules(Rule(replies_html(404), READS)),
        6.0,
    ),
    Row("200-of-a-login-page", "everything answers 200 with a page", _rules(Rule(replies_html(200))), 6.0),
    Row(
        "302",
        "everything is answered with a redirect",
        _rules(Rule(Replies(Answer(302, b"", headers={"Location": "http://127.0.0.1:1/"})))),
    ),
    Row(
        "nodes-unwatched",
        "the watch of nodes alone is refused",
        _rules(Rule(replies(503, "ServiceUnavailable"), (WATCH, LIST), "/nodes")),
    ),
    Row(
        "pods-unwatched",
        "the watch of pods alone is refused",
        _rules(Rule(replies(503, "ServiceUnavailable"), (WATCH, LIST), "/pods")),
    ),
    Row("pods-lag", "the watch of pods stalls, all else goes on", _rules(Rule(Stalls(), (WATCH,), "/pods"))),
    Row("lag", "the watches are 2 s behind", _rules(Rule(Lags(2.0), (WATCH,))), short=True),
    Row(
        "dead-sockets", "each connection in use goes silent and stays silent", _rules(Rule(Dies())), 2.0, within_s=110.0
    ),
    Row("paused", "the API server stops answering everybody", lambda _: Paused(), 8.0),
    Row("hiccups", "the extender's process stands still for half of the time", lambda _: Repeated(hiccup, 1.0)),
    Row("scheduler-restarts", "kube-scheduler is replaced again and again", lambda _: Repeated(restart_scheduler, 2.0)),
    Row(
        "plugins-restart",
        "the device plugins are replaced again and again",
        lambda _: Repeated(restart_plugins, 4.0),
        8.0,
        tolerates=frozenset({"rejected"}),
    ),
    Row(
        "restored",
        "etcd is restored to its state of 4 s before",
        lambda _: Restored(4.0),
        6.0,
        shape=_LIGHT,
        short=True,
    ),
    Row(
        "restored-bumped",
        "etcd is restored, with a bumped revision",
        lambda _: Restored(4.0, bump=10**9),
        6.0,
        shape=_LIGHT,
    ),
    Row(
        "authority-changes",
        "the API server's CA is replaced, its file follows 2 s later",
        lambda _: AuthorityChanges(),
        shape=_SECURED,
        short=True,
    ),
    Row("token-changes", "the token is replaced, its file follows 2 s later", lambda _: TokenChanges(), shape=_SECURED),
    Row("frozen", "the extender is stopped (SIGSTOP)", lambda _: Frozen(), 16.0),
    Row(
        "frozen-and-replaced",
        "the extender is stopped (SIGSTOP), and a second scheduler with its own extender binds meanwhile",
        lambda _: Frozen(replaced_after_s=5.0),
        16.0,
        shape=_LIGHT,
    ),
    Row(
        "killed",
        "the extender is killed (SIGKILL) every second",
        lambda _: Killed(every_s=1.0),
        8.0,
        short=True,
        real=True,
    ),
    Row(
        "killed-in-mid-bind",
        "the extender is killed (SIGKILL) while Bindings take 1 s",
        lambda _: Killed(every_s=1.5, bindings_take_s=1.0),
        8.0,
    ),
    Row(
        "terminated-in-mid-bind",
        "the extender is ended (SIGTERM) while Bindings take 1 s",
        lambda _: Killed(every_s=1.5, politely=True, bindings_take_s=1.0),
        8.0,
    ),
    Row("64-descriptors", "the extender may open 64 files", lambda _: FewDescriptors(), short=True),
    Row(
        "no-more-descriptors",
        "the extender can open no more files than it has open",
        lambda _: Together((FewerDescriptors(), Repeated(cut_connections, 1.0))),
    ),
    Row("full-disk", "the disk of the log and of temporary files is full", lambda _: FullDisk(), skip_because=no_root),
    Row(
        "clock-jumps",
        "the wall clock jumps an hour ahead and back again",
        lambda _: ClockJumps(3600),
        skip_because=no_compiler,
        short=True,
    ),
    Row(
        "clock-jumps-back",
        "the wall clock jumps back by a year and ahead again",
        lambda _: ClockJumps(-31_536_000),
        skip_because=no_compiler,
    ),
    Row(
        "two-schedulers",
        "two schedulers, each with its own extender, bind to the same nodes",
        lambda _: Crowded(),
        tolerates=frozenset({"rejected", "planned"}),
    ),
    Row("storm", "another fault every 0.3 s", _anything, 15.0, short=True, real=True),
)
