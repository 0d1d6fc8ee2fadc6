"""Random attempts of kube-scheduler: no hold outlives its attempt, and none ends before.

The model writes on the pod what kube-scheduler 1.36 does, in its order, and the watch shows it late. A failure in the
words of the one before, by an attempt that had nothing to wait for, is not written at all: of that nothing can tell.
"""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from extender.scheduling.ledger.attempts import SHORTEST_S
from extender.server.state.outcomes import Assumed, Passed
from tests.extender.cluster import Cluster
from tests.extender.objects import Json, node, pod, uuid

REFUSED = "0/1 nodes are available: 1 not enough free GPU memory."
WORDS = ("binding volumes: timed out", '0/1 nodes are available: 1 pod "p" rejected while waiting on permit.')
ACTIONS = ("filter", "filter", "wait", "fail", "fail again", "bind", "watch", "other", "other", "time", "long time")


class Scheduler:
    """kube-scheduler, its API server and a watch, with one node on which one pod of 10 finds room."""

    def __init__(self) -> None:
        self.cluster = Cluster(node("a", 16))
        self.version = 10
        self.refusal = self.nominated = ""
        self.unseen: list[Json] = []
        self.seen_by_scheduler = self.body()
        self.running = self.waits = self.told = False
        self.words = 0
        self.other = 0

    def body(self) -> Json:
        """The pod as the API server has it."""
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": self.refusal}
        status = {"conditions": [condition] if self.refusal else [], "nominatedNodeName": self.nominated}
        return pod("p", 10, version=self.version, status=status)

    def write(self, refusal: str, nominated: str) -> bool:
        """Patch the status; whether anything in it was new."""
        if (refusal, nominated) == (self.refusal, self.nominated):
            return False
        self.refusal, self.nominated = refusal, nominated
        self.version += 1
        self.unseen.append(self.body())
        return True

    def filter(self) -> None:
        """Begin an attempt; after a refusal perhaps at once, before its own write has come back."""
        if self.running:
            return
        outcome = self.cluster.filter(self.seen_by_scheduler)
        self.seen_by_scheduler = self.body()
        if isinstance(outcome, Passed):
            self.running, self.waits, self.told = True, False, True
        else:
            self.told = True
            self.write(REFUSED, "")

    def wait(self) -> None:
        """Permit or PreBind has to wait."""
        if self.running:
            self.waits = True
            self.write(self.refusal, "a")

    def fail(self) -> None:
        """In other words than before."""
        self.words += 1
        self.end(f"{WORDS[self.words % 2]} ({self.words})")

    def fail_again(self) -> None:
        """In the same words as before, unless those are the extender's."""
        self.end(self.refusal if self.refusal.startswith(WORDS) else WORDS[0])

    def end(self, words: str) -> None:
        """The attempt fails; the next one begins after a backoff, when the watch has caught up."""
        if self.running:
            self.running, self.told = False, self.write(words, "")
            self.watch()
            self.seen_by_scheduler = self.body()

    def bind(self) -> None:
        """The attempt comes to bind and gets the room that was held; the API server refuses the Binding."""
        if self.running:
            assert isinstance(self.cluster.bind("p", "a"), Assumed)
            self.cluster.state.forget("uid-p")
            self.end("gpupack: API server: 409 Conflict")
            self.told = True

    def watch(self) -> None:
        """The watch catches up."""
        for body in self.unseen:
            self.cluster.show(body)
        self.unseen.clear()

    def other_comes_or_goes(self) -> None:
        """Another pod takes the room while it is free, or leaves it."""
        if self.other:
            self.cluster.delete(f"other{self.other}")
            self.other = 0
        elif not self.running and not self.held():
            self.version += 1
            self.other = self.version
            self.cluster.show_bound(f"other{self.other}", 10, uuid("a", 0), "a", version=self.version)

    def time(self, seconds: float) -> None:
        """Time passes; an attempt that has nothing to wait for does not take a second."""
        if self.waits or not self.running:
            self.watch()
            self.cluster.clock.advance(seconds)

    def held(self) -> bool:
        """Whether room is held."""
        self.cluster.state.snapshot()
        return self.cluster.state.reservation("uid-p") is not None

    def act(self, action: str) -> None:
        """Do one of `ACTIONS`."""
        match action:
            case "time":
                self.time(SHORTEST_S / 4)
            case "long time":
                self.time(20.0)
            case "other":
                self.other_comes_or_goes()
            case "fail again":
                self.fail_again()
            case _:
                getattr(self, action)()

    def check(self) -> None:
        """The promise."""
        if self.running:
            assert self.held(), "ended before its attempt"
        elif self.told and not self.unseen:
            assert not self.held(), "outlived its attempt"


@settings(max_examples=200, deadline=None)
@example(["other", "filter", "other", "filter", "watch", "wait", "fail"])
@example(["filter", "fail", "filter", "wait", "fail again"])
@given(st.lists(st.sampled_from(ACTIONS), min_size=30, max_size=70))
def test_a_hold_lasts_exactly_as_long_as_its_attempt(actions: list[str]) -> None:
    """At every step, once the watch has shown what was written."""
    scheduler = Scheduler()
    for action in actions:
        scheduler.act(action)
        scheduler.check()
