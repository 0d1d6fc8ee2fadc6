"""The background work: refused pods are woken when room appears, and binds of unknown fate are settled."""

import logging
import threading
from itertools import pairwise

import pytest

from extender.kube.errors import ApiError
from extender.server.binder import Binder
from extender.server.state.outcomes import Passed, Rejected
from extender.server.upkeep import ROUND_S, UNSETTLED_S, WAKES_A_ROUND, Upkeep
from extender.server.wire import decode_binding_args
from tests.extender.cluster import HOLD_S, Cluster
from tests.extender.objects import bind_call, node, pod, uuid
from tests.fakes.binding_api import BindingApi, Trouble, unreachable
from tests.fakes.refusals import refused

RETRY = "gpupack.io/retry"


class Bench:
    """A full node `a`, pods that were refused, and upkeep whose rounds are run by the test."""

    def __init__(self, *names: str) -> None:
        self.cluster = Cluster(node("a", 16))
        self.cluster.show_bound("first", 16, uuid("a", 0), "a")
        bodies = [pod(name, 8, version=20 + at) for at, name in enumerate(names)]
        self.api = BindingApi(*bodies)
        for body in bodies:
            assert isinstance(self.cluster.filter(body), Rejected)
            self.cluster.clock.advance(0.01)
        self.binder = Binder(
            self.cluster.state,
            self.api,
            self.cluster.names,
            self.cluster.decoder,
            clock=self.cluster.clock,
            pause=lambda _s: None,
        )
        self.upkeep = Upkeep(self.cluster.state, self.binder, self.api, RETRY, self.cluster.clock)

    def pass_time(self, seconds: float) -> list[tuple[float, str]]:
        """Run the rounds of that time; when each touch happened, and to whom."""
        touches = []
        for at in range(1, round(seconds / ROUND_S) + 1):
            self.cluster.clock.advance(ROUND_S)
            before = len(self.api.touched)
            self.upkeep.round()
            touches += [(at * ROUND_S, name) for name in self.api.touched[before:]]
        return touches

    def make_room(self) -> None:
        """The pod that filled the node goes."""
        self.cluster.delete("first")


def test_lesson_16_a_refused_pod_is_touched_within_two_seconds_of_room() -> None:
    """A new value of its annotation puts it back into kube-scheduler's queue."""
    bench = Bench("train")
    assert bench.pass_time(5) == []
    bench.make_room()
    ((after_s, name),) = bench.pass_time(30)
    assert (after_s <= 2, name) == (True, "train")
    assert bench.api.pods["train"]["metadata"]["annotations"][RETRY]
    assert bench.upkeep.woken == 1


def test_a_pod_is_touched_once_for_each_room() -> None:
    """Refused again, and room again: touched again at once, with another value."""
    bench = Bench("train")
    values = []
    for at in range(3):
        bench.cluster.show_bound(f"p{at}", 16, uuid("a", 0), "a")
        assert isinstance(bench.cluster.filter(pod("train", 8)), Rejected)
        bench.make_room()
        bench.cluster.delete(f"p{at}")
        assert [name for _, name in bench.pass_time(2)] == ["train"]
        values.append(bench.api.pods["train"]["metadata"]["annotations"][RETRY])
    assert len(set(values)) == 3


def test_a_pod_that_does_not_come_back_is_touched_after_growing_pauses() -> None:
    """Another plugin of kube-scheduler keeps it, while room comes and goes all the time."""
    bench = Bench("train")
    bench.make_room()
    times = []
    for at in range(600):
        bench.cluster.show_bound(f"p{at}", 1, uuid("a", 0), "a")
        bench.cluster.delete(f"p{at}")
        times += [at * 0.5 + after_s for after_s, _ in bench.pass_time(0.5)]
    pauses = [after - before for before, after in pairwise(times)]
    assert len(times) <= 10
    assert pauses == sorted(pauses)
    assert pauses[0] >= 2
    assert 60 <= pauses[-1] <= 62


def leave_half(bench: Bench) -> None:
    """There is room for one of the pods."""
    bench.make_room()
    bench.cluster.show_bound("half", 8, uuid("a", 0), "a")


def test_room_that_the_woken_pod_does_not_take_is_offered_to_the_next_one() -> None:
    """kube-scheduler's own filters refuse the first by now: it never comes; each is woken once for the room."""
    bench = Bench("one", "two", "three")
    leave_half(bench)
    (first_s, first), (second_s, second), (third_s, third) = bench.pass_time(300)
    assert [first, second, third] == ["one", "two", "three"]
    assert 2 <= second_s - first_s <= 3
    assert 2 <= third_s - second_s <= 3


def test_room_that_the_woken_pod_takes_is_offered_to_nobody() -> None:
    """It is as good as gone."""
    bench = Bench("one", "two")
    leave_half(bench)
    assert [name for _, name in bench.pass_time(1)] == ["one"]
    assert isinstance(bench.cluster.filter(pod("one", 8)), Passed)
    bench.cluster.assume("one", "a")
    bench.cluster.show_bound("one", 8, uuid("a", 0), "a", version=50)
    assert bench.pass_time(60) == []


def test_a_pod_in_its_pause_does_not_take_the_place_of_another() -> None:
    """Its own turn comes when the pause is over, if there is room still."""
    bench = Bench("one", "two")
    leave_half(bench)
    assert [name for _, name in bench.pass_time(1)] == ["one"]
    bench.cluster.delete("half")
    bench.cluster.show_bound("half again", 8, uuid("a", 0), "a")
    touches = bench.pass_time(60)
    assert [name for _, name in touches] == ["two", "one"]
    assert touches[0][0] <= 1


def test_more_pods_than_a_round_wakes_are_woken_in_the_next_rounds() -> None:
    """Nobody is forgotten."""
    names = [f"p{at}" for at in range(WAKES_A_ROUND + 5)]
    bench = Bench(*names)
    bench.cluster.add_node(node("b", *[8] * len(names)))
    touches = bench.pass_time(2)
    assert sorted(name for _, name in touches) == sorted(names)


@pytest.mark.parametrize(
    "trouble",
    [
        unreachable(sent=True),
        unreachable(sent=False),
        refused(500, "InternalError", "etcd"),
        ApiError(404, "Not Found", "default backend - 404"),
    ],
)
def test_a_touch_that_failed_is_made_again(trouble: Trouble) -> None:
    """Once the API server is back; with pauses, since it may be away for long."""
    bench = Bench("train", "other")
    bench.api.untouchable.extend([trouble] * 4)
    bench.make_room()
    touches = bench.pass_time(60)
    assert sorted(name for _, name in touches) == ["other", "train"]
    assert not bench.api.untouchable


def test_an_api_server_that_is_away_is_asked_once_a_round() -> None:
    """Not once for each of the pods, each with its own timeout."""
    bench = Bench("p0", "p1", "p2")
    bench.cluster.add_node(node("b", 8, 8, 8))
    bench.api.untouchable.extend([unreachable(sent=False)] * 2)
    bench.pass_time(0.25)
    assert len(bench.api.untouchable) == 1
    assert sorted(name for _, name in bench.pass_time(20)) == ["p0", "p1", "p2"]


def test_a_failed_touch_is_not_made_again_when_the_pod_needs_it_no_more() -> None:
    """It was bound meanwhile."""
    bench = Bench("train")
    bench.api.untouchable.append(unreachable(sent=True))
    bench.make_room()
    bench.pass_time(1)
    bench.cluster.show_bound("train", 8, uuid("a", 0), "a", version=50)
    assert bench.pass_time(120) == []


@pytest.mark.parametrize("replaced", [False, True])
def test_a_pod_that_is_gone_is_let_go(*, replaced: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Deleted, or another pod has its name: nothing to do and nothing to log."""
    bench = Bench("train")
    if replaced:
        bench.api.pods["train"]["metadata"]["uid"] = "uid-of-another"
    else:
        del bench.api.pods["train"]
    bench.make_room()
    with caplog.at_level(logging.INFO):
        assert bench.pass_time(120) == []
    assert not [each for each in caplog.records if each.name == "extender.server.upkeep"]
    assert bench.api.reads == (1 if replaced else 0)


@pytest.mark.parametrize("status", [404, 409, 422])
@pytest.mark.parametrize("unreadable", [False, True])
def test_a_refused_touch_alone_does_not_say_that_the_pod_is_gone(
    status: int, *, unreadable: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody wrote at the same moment, or an admission policy was in the way: it is told, and made again."""
    bench = Bench("train")
    bench.api.untouchable.append(refused(status, "Conflict", "the object has been modified"))
    if unreadable:
        bench.api.unreadable.append(refused(500, "InternalError", "etcd"))
    bench.make_room()
    ((after_s, name),) = bench.pass_time(120)
    assert (after_s <= 3, name) == (True, "train")
    assert f"can't wake pod default/train: {status} Conflict" in caplog.text


def lose_a_bind(bench: Bench, *, written: bool) -> None:
    """A bind whose answer is lost, and whose pod cannot be read for a while."""
    bench.make_room()
    assert isinstance(bench.cluster.filter(pod("train", 8)), Passed)
    (bench.api.lost if written else bench.api.refusals).append(unreachable(sent=True))
    bench.api.unreadable.extend([unreachable(sent=True)] * 6)
    assert "is being settled" in bench.binder.bind(decode_binding_args(bind_call("train", "a")))


@pytest.mark.parametrize(("written", "free"), [(True, [8]), (False, [16])])
def test_lesson_15_a_bind_of_unknown_fate_is_settled_in_the_end(*, written: bool, free: list[int]) -> None:
    """By a live read, however long the API server is away; until then its GPUs stay charged."""
    bench = Bench("train")
    lose_a_bind(bench, written=written)
    bench.pass_time(UNSETTLED_S - ROUND_S)
    assert bench.api.reads == 3
    assert bench.cluster.free("a") == [8]
    bench.pass_time(HOLD_S)
    assert bench.cluster.free("a") == free
    assert bench.cluster.state.counts()["assumed"] == 0
    assert bench.api.reads < 12


def test_an_api_server_that_is_away_is_asked_about_one_bind_a_round() -> None:
    """Waking must not wait for it as often as there are binds to settle; in the end all are settled."""
    names = [f"p{at}" for at in range(4)]
    bench = Bench(*names)
    bench.cluster.add_node(node("b", *[8] * len(names)))
    for name in names:
        assert isinstance(bench.cluster.filter(pod(name, 8), "b"), Passed)
        bench.api.refusals.append(unreachable(sent=True))
        bench.api.unreadable.extend([unreachable(sent=True)] * 3)
        assert "is being settled" in bench.binder.bind(decode_binding_args(bind_call(name, "b")))
    bench.pass_time(UNSETTLED_S - ROUND_S)
    before = bench.api.reads
    bench.api.unreadable.extend([unreachable(sent=True)] * 3)
    for rounds in range(1, 4):
        bench.pass_time(ROUND_S)
        assert bench.api.reads == before + rounds
    bench.pass_time(10)
    assert bench.cluster.state.counts()["assumed"] == 0


def test_the_thread_outlives_a_round_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """A bug in one round is logged; the thread goes on until it is stopped."""
    bench = Bench("train")
    failed = threading.Event()

    class Broken(BindingApi):
        def patch(self, *_args: object, **_kwargs: object) -> bytes:
            failed.set()
            raise RuntimeError("a bug")

    bench.make_room()
    bench.cluster.clock.advance(1)
    upkeep = Upkeep(bench.cluster.state, bench.binder, Broken(), RETRY, bench.cluster.clock)
    upkeep.start()
    assert failed.wait(30)
    upkeep.stop(30)
    assert "upkeep round failed; the next one tries again" in caplog.text
    assert not [thread for thread in threading.enumerate() if thread.name == "upkeep"]


def test_waking_does_not_wait_for_the_claims_of_a_held_pod() -> None:
    """Their reads hang; both threads end when told."""
    bench = Bench("train")
    reading, read_on, woken = threading.Event(), threading.Event(), threading.Event()

    class Hanging(BindingApi):
        def read(self, *_args: object, **_kwargs: object) -> bytes:
            reading.set()
            assert read_on.wait(30)
            raise unreachable(sent=True)

        def patch(self, *_args: object, **_kwargs: object) -> bytes:
            woken.set()
            return b"{}"

    bench.cluster.add_node(node("b", 16))
    bench.cluster.hold(pod("slow", 16), "b")
    bench.cluster.clock.advance(HOLD_S - 1)
    upkeep = Upkeep(bench.cluster.state, bench.binder, Hanging(), RETRY, bench.cluster.clock)
    upkeep.start()
    assert reading.wait(30)
    bench.make_room()
    bench.cluster.clock.advance(1)
    assert woken.wait(30)
    read_on.set()
    upkeep.stop(30)
    assert not [thread for thread in threading.enumerate() if thread.name in {"upkeep", "volumes"}]


def test_stop_before_start_does_nothing() -> None:
    """The process may be told to end before the first lists are in."""
    Bench("train").upkeep.stop(1)
