"""Bind: one Binding for each pod, and an answer that is true whatever the API server and the network do."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from extender.kube.errors import ApiError
from extender.server.binder import CALL_S, Binder
from extender.server.state.book import CATCH_UP_S
from extender.server.state.outcomes import Passed, Unavailable
from extender.server.wire import decode_binding_args
from tests.extender.cluster import HOLD_S, Cluster
from tests.extender.objects import Json, allocation, bind_call, node, pod, raw, uuid
from tests.fakes.binding_api import BindingApi, Trouble, unreachable
from tests.fakes.refusals import refused

ALLOCATION = "gpupack.io/allocation"


class Bench:
    """A node `a` of two GPUs of 16 units, a node `b` of one, and pods; time passes in pauses, which are remembered."""

    def __init__(self, *pods: Json) -> None:
        self.cluster = Cluster(node("a", 16, 16), node("b", 16))
        self.api = BindingApi(*pods)
        self.pauses: list[float] = []
        self.binder = Binder(
            self.cluster.state,
            self.api,
            self.cluster.names,
            self.cluster.decoder,
            clock=self.cluster.clock,
            pause=self.pause,
        )

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        self.pauses.append(seconds)
        self.cluster.clock.advance(seconds)

    def bind(self, name: str = "train", target: str = "a", uid: str = "") -> str:
        """A bind call; its answer."""
        return self.binder.bind(decode_binding_args(bind_call(name, target, uid=uid)))

    def settle(self) -> list[bool]:
        """What upkeep does for assumptions; whether each was settled."""
        return [self.binder.settle(one) for one in self.cluster.state.unsettled(0.0)]

    def bound_to(self, name: str = "train") -> str:
        """The node that the API server has for the pod; empty while unbound."""
        return str(self.api.pods[name]["spec"].get("nodeName", ""))

    def verdict(self, uid: str = "uid-train") -> str:
        """What was decided last."""
        decision = self.cluster.decisions.of(uid)
        return decision.verdict if decision is not None else ""


def held(body: Json | None = None) -> Bench:
    """A pod of 8 units that passed filter, to be bound to `a`."""
    train = body or pod("train", 8)
    bench = Bench(train)
    bench.cluster.hold(train, "a")
    return bench


def test_a_bind_writes_node_and_allocation_at_once() -> None:
    """The GPUs that filter held, the policy and the time, in the Binding itself."""
    bench = held()
    assert bench.bind() == ""
    assert bench.bound_to() == "a"
    assert json.loads(bench.api.pods["train"]["metadata"]["annotations"][ALLOCATION]) == {
        "version": 1,
        "unitMib": 1024,
        "containers": {"main": {uuid("a", 0): 8}},
        "policy": "binpack",
        "at": "2026-01-31T12:00:00.000Z",
    }
    assert (bench.api.binds, bench.api.reads, bench.verdict()) == (1, 0, "bound")
    assert sorted(bench.cluster.free("a")) == [8, 16]


def test_what_was_written_reads_back_as_what_is_charged() -> None:
    """The watch's own event of the bind changes nothing."""
    bench = held(pod("train", 8, annotations={"gpu-count": "2", "policy": "spread"}))
    assert bench.bind() == ""
    before = bench.cluster.free("a")
    bench.cluster.show(bench.api.pods["train"])
    assert bench.cluster.free("a") == before == [12, 12]
    assert '"policy":"spread"' in bench.api.pods["train"]["metadata"]["annotations"][ALLOCATION]


def test_a_pod_that_nobody_has_shown_is_read_first() -> None:
    """After a restart between filter and bind."""
    bench = Bench(pod("train", 8))
    assert bench.bind() == ""
    assert (bench.bound_to(), bench.api.reads) == ("a", 1)


@pytest.mark.parametrize("body", [pod("train", "0"), pod("train")])
def test_a_pod_that_asks_for_nothing_is_bound_without_gpus(body: Json) -> None:
    """Kube-scheduler hands us every pod that names our resource, even with quantity 0: nobody else binds it."""
    bench = Bench(body)
    assert bench.bind() == ""
    assert bench.bound_to() == "a"
    assert ALLOCATION not in bench.api.pods["train"]["metadata"]["annotations"]
    assert bench.bind() == ""


@pytest.mark.parametrize("written", [True, False], ids=["written", "not written"])
def test_a_lost_answer_of_a_bind_without_gpus_is_settled_at_once(*, written: bool) -> None:
    """There is nothing to keep meanwhile."""
    bench = Bench(pod("train", "0"))
    (bench.api.lost if written else bench.api.refusals).append(unreachable(sent=True))
    assert (bench.bind(), bench.bound_to()) == ("", "a")


def test_a_pod_with_a_senseless_request_is_not_bound() -> None:
    """The error is the answer."""
    bench = Bench(pod("train", 8, annotations={"gpu-count": "x"}))
    assert bench.bind() == "annotation gpupack.io/gpu-count is 'x', expected a number of GPUs"
    assert bench.bound_to() == ""


def test_lesson_6_a_second_bind_of_a_bound_pod_answers_the_truth() -> None:
    """Success for the same node, an error for another; the GPU stays, and nothing is written."""
    bench = held()
    bench.bind()
    before = bench.api.pods["train"]
    bench.cluster.show(before)
    text = before["metadata"]["annotations"][ALLOCATION]
    assert bench.bind() == ""
    assert bench.bind(target="b") == "pod is bound to a already"
    assert bench.api.pods["train"]["metadata"]["annotations"][ALLOCATION] == text
    assert bench.api.binds == 1


def test_a_conflict_with_our_own_earlier_bind_is_a_success() -> None:
    """Its answer was lost, and the watch has not shown it."""
    bench = held()
    plan = allocation({"main": {uuid("a", 1): 8}})
    bench.api.write("train", "uid-train", "a", {ALLOCATION: plan})
    assert bench.bind() == ""
    assert bench.cluster.free("a") == [16, 8]


def test_a_conflict_with_a_bind_elsewhere_is_an_error() -> None:
    """And the pod is charged where it is."""
    bench = held()
    bench.api.write("train", "uid-train", "b", {ALLOCATION: allocation({"main": {uuid("b", 0): 8}})})
    assert bench.bind() == "pod is bound to b already"
    assert (bench.cluster.free("a"), bench.cluster.free("b")) == ([16, 16], [8])


def test_a_bind_by_hand_to_the_same_node_is_an_error() -> None:
    """The pod has no allocation from us; it is charged all the same."""
    bench = held()
    bench.api.write("train", "uid-train", "a", {})
    assert bench.bind() == "pod is bound to a already"
    assert sorted(bench.cluster.free("a")) == [8, 16]


@pytest.mark.parametrize("again", [False, True])
def test_a_pod_that_is_gone_is_an_error_and_holds_nothing(*, again: bool) -> None:
    """Deleted, or deleted and created anew under the same name: lesson 7."""
    bench = held()
    del bench.api.pods["train"]
    if again:
        bench.api.pods["train"] = pod("train", 8, uid="another")
    assert bench.bind() == "pod is gone"
    assert bench.cluster.free("a") == [16, 16]
    assert bench.cluster.state.reservation("uid-train") is None


@pytest.mark.parametrize("refusal", [refused(403, "Forbidden", "no rights"), refused(409, "Conflict", "gated")])
def test_a_bind_that_was_surely_not_written_is_forgotten(refusal: Trouble) -> None:
    """The text says why, the room is free at once, and the next try may do."""
    bench = held()
    bench.api.refusals.append(refusal)
    assert bench.bind() == f"API server: {refusal}"
    assert (bench.cluster.free("a"), bench.api.touched) == ([16, 16], [])
    assert bench.bind() == ""


@pytest.mark.parametrize(
    ("trouble", "pauses"),
    [
        (refused(429, "TooManyRequests", "slow down", 1.0), [1.0]),
        (refused(429, "TooManyRequests", "slow down"), [0.05]),
        (ApiError(429, "Too Many Requests", "please try again later", 2.0), [2.0]),
        (refused(503, "ServiceUnavailable", "", 1.0), [1.0]),
        (refused(503, "ServiceUnavailable", ""), [0.05]),
        (refused(500, "InternalError", "etcd"), [0.05]),
        (ApiError(404, "Not Found", "default backend - 404"), [0.05]),
        (unreachable(sent=True), [0.05]),
        (unreachable(sent=False), [0.05]),
    ],
)
def test_what_passes_costs_a_pause_and_nobody_hears_of_it(trouble: Trouble, pauses: list[float]) -> None:
    """As long as the API server asks; no error, and so no Event and no second try by kube-scheduler."""
    bench = held()
    bench.api.refusals.append(trouble)
    assert bench.bind() == ""
    assert (bench.bound_to(), bench.verdict(), bench.pauses) == ("a", "bound", pauses)


@pytest.mark.parametrize(
    ("trouble", "touches"),
    [(refused(429, "TooManyRequests", "slow down", 3.0), 0), (refused(503, "ServiceUnavailable", "", 3.0), 1)],
)
def test_a_pause_that_is_longer_than_the_call_is_left_to_kube_scheduler(trouble: Trouble, touches: int) -> None:
    """It is answered at once, and the room is given back: nothing was or will be written."""
    bench = held()
    bench.api.refusals.append(trouble)
    assert bench.bind() == f"API server: {trouble}"
    assert (bench.pauses, len(bench.api.touched), bench.cluster.free("a")) == ([], touches, [16, 16])


@pytest.mark.parametrize(
    ("trouble", "text"),
    [(refused(429, "TooManyRequests"), "429 TooManyRequests: "), (unreachable(sent=False), "can't be reached")],
)
def test_what_does_not_pass_ends_with_the_call(trouble: Trouble, text: str) -> None:
    """Before kube-scheduler gives up, so that it hears of it; nothing is kept."""
    bench = held()
    bench.api.refusals.extend([trouble] * 100)
    began_s = bench.cluster.clock()
    assert bench.bind() == f"API server: {text}"
    assert 1.5 < bench.cluster.clock() - began_s < CALL_S
    assert bench.cluster.free("a") == [16, 16]


def test_an_api_server_that_never_answers_binds_is_tried_three_times() -> None:
    """Each try costs a touch of the pod; in the end nothing is under way, and nothing is kept."""
    bench = held()
    bench.api.late.extend([refused(500, "InternalError", "webhook")] * 9)
    assert bench.bind() == "API server: 500 InternalError: webhook"
    assert (bench.api.binds, len(bench.api.touched), bench.cluster.free("a")) == (3, 3, [16, 16])
    assert bench.api.arrive() == ["Precondition failed: ResourceVersion in precondition"] * 3


@pytest.mark.parametrize(
    "trouble", [unreachable(sent=True), refused(500, "InternalError", "etcd"), refused(408, "Timeout", "slow")]
)
def test_lesson_15_a_lost_answer_of_a_bind_that_was_written_is_a_success(trouble: Trouble) -> None:
    """A live read settles it at once."""
    bench = held()
    bench.api.lost.append(trouble)
    assert bench.bind() == ""
    assert (bench.bound_to(), bench.verdict(), bench.api.touched) == ("a", "bound", [])
    assert sorted(bench.cluster.free("a")) == [8, 16]


@pytest.mark.parametrize("trouble", [unreachable(sent=True), refused(504, "Timeout", "etcd")])
def test_lesson_15_a_bind_that_is_late_is_void_before_its_place_is_given_away(trouble: Trouble) -> None:
    """It carries the version that the pod had; a touch gives the pod another one, and the second bind carries that."""
    bench = held()
    bench.api.late.append(trouble)
    assert bench.bind() == ""
    before = json.dumps(bench.api.pods["train"])
    assert bench.api.arrive() == ["Precondition failed: ResourceVersion in precondition"]
    assert (json.dumps(bench.api.pods["train"]), bench.api.touched, bench.api.binds) == (before, ["train"], 2)


def test_lesson_15_memory_is_not_given_twice_by_a_bind_that_is_late() -> None:
    """The first bind is under way for as long as it likes, and nothing can be written: so its place is kept."""
    bench = held(pod("train", 16))
    other = pod("other", 16)
    bench.api.pods["other"] = other
    bench.api.late.append(unreachable(sent=True))
    bench.api.untouchable.extend([unreachable(sent=True)] * 9)
    assert bench.bind() == "API server: no answer; the bind is being settled"
    bench.cluster.clock.advance(10 * HOLD_S)
    assert bench.settle() == [False]
    assert sorted(bench.cluster.free("a")) == [0, 16]
    bench.cluster.hold(other, "a")
    assert bench.bind("other") == ""
    assert bench.api.arrive() == ["written"]
    bench.cluster.show(bench.api.pods["train"])
    assert bench.cluster.free("a") == [0, 0]


@pytest.mark.parametrize(
    "denied",
    [
        ApiError(422, "Invalid", "ValidatingAdmissionPolicy 'labels' denied request", about=("pods", "train")),
        ApiError(409, "Conflict", "the object has been modified", about=("pods", "train")),
    ],
    ids=["policy", "contention"],
)
def test_a_touch_that_is_refused_is_no_proof_that_the_pod_is_gone(denied: ApiError) -> None:
    """Admission policies answer 422 and contention 409, as for a namesake: only a read can tell them apart."""
    bench = held(pod("train", 16))
    bench.api.late.append(unreachable(sent=True))
    bench.api.untouchable.extend([denied] * 9)
    assert bench.bind() == "API server: no answer; the bind is being settled"
    assert bench.settle() == [False]
    assert sorted(bench.cluster.free("a")) == [0, 16]
    assert bench.api.arrive() == ["written"]


def test_a_bind_that_is_being_settled_is_settled_by_a_touch() -> None:
    """Until then its GPUs are kept and filter says so; then nothing of it can come, and the next try does it."""
    bench = held()
    bench.api.late.append(unreachable(sent=True))
    bench.api.untouchable.extend([unreachable(sent=True)] * 3)
    assert bench.bind() == "API server: no answer; the bind is being settled"
    assert bench.cluster.state.counts()["assumed"] == 1
    settling = Unavailable("an earlier bind of the pod to a is being settled")
    assert bench.cluster.filter(pod("train", 8), "a") == settling
    assert bench.settle() == [True]
    assert (bench.cluster.free("a"), bench.api.touched) == ([16, 16], ["train"])
    assert bench.api.arrive() == ["Precondition failed: ResourceVersion in precondition"]
    assert isinstance(bench.cluster.filter(bench.api.pods["train"], "a"), Passed)
    assert bench.bind() == ""


def test_a_pod_that_has_another_version_already_needs_no_touch() -> None:
    """Somebody else's write has made the bind void; it is tried again at once."""
    bench = held()
    bench.api.late.append(unreachable(sent=True))
    bench.api.annotate("train", {"note": "by somebody"})
    assert bench.bind() == ""
    assert bench.api.touched == []
    assert bench.api.arrive() == ["Precondition failed: ResourceVersion in precondition"]


def test_a_touch_that_shows_the_pod_bound_is_a_success() -> None:
    """The bind was carried out between the read and the touch."""
    bench = held()
    bench.api.late.append(unreachable(sent=True))
    plain_read = bench.api.read

    def read(path: str, timeout_s: float = 10.0) -> bytes:
        answer = plain_read(path, timeout_s)
        bench.api.arrive()
        return answer

    bench.api.read = read  # type: ignore[method-assign] # the order of two requests
    assert bench.bind() == ""
    assert (bench.bound_to(), bench.api.binds, bench.api.touched) == ("a", 1, ["train"])


def test_a_harmless_write_between_filter_and_bind_costs_nothing_visible() -> None:
    """kube-scheduler's own status patch, a label: the API server refuses the old version, and the new one is sent."""
    bench = held()
    bench.api.annotate("train", {"note": "by somebody"})
    assert bench.bind() == ""
    assert (bench.api.binds, bench.api.reads, bench.api.touched, bench.pauses) == (2, 1, [], [])
    assert (bench.bound_to(), bench.verdict()) == ("a", "bound")


def test_a_pod_that_is_written_to_all_the_time_is_not_bound_and_not_kept() -> None:
    """The call ends in time, and its place is free."""
    bench = held()
    plain_bind = bench.api.bind_pod

    def bind_pod(*args: object, **kwargs: object) -> None:
        bench.api.annotate("train", {"count": str(bench.api.binds)})
        plain_bind(*args, **kwargs)  # type: ignore[arg-type] # as they came

    bench.api.bind_pod = bind_pod  # type: ignore[method-assign] # a write before each bind
    began_s = bench.cluster.clock()
    assert bench.bind() == "the pod is written to all the time"
    assert bench.cluster.clock() - began_s < CALL_S
    assert (bench.api.touched, bench.cluster.free("a")) == ([], [16, 16])


PAGES = [
    ApiError(404, "Not Found", "default backend - 404"),
    refused(404, "NotFound", "the server could not find the requested resource"),
    ApiError(404, "NotFound", "another pod", about=("pods", "other")),
]


@pytest.mark.parametrize("page", PAGES)
def test_a_load_balancer_that_answers_404_to_everything_proves_nothing(page: ApiError) -> None:
    """The pod is neither gone nor buried: when the API server is back, the next try binds it."""
    bench = held()
    bench.api.refusals.append(page)
    bench.api.unreadable.extend([page] * 9)
    assert bench.bind() == f"API server: {page}; the bind is being settled"
    assert bench.settle() == [False]
    assert sorted(bench.cluster.free("a")) == [8, 16]
    bench.api.unreadable.clear()
    assert bench.settle() == [True]
    assert isinstance(bench.cluster.filter(bench.api.pods["train"], "a"), Passed)
    assert bench.bind() == ""


def test_a_pod_that_was_read_as_gone_is_not_buried() -> None:
    """A read gives its room back and no more: what shows the pod again is believed."""
    bench = held()
    body = bench.api.pods.pop("train")
    assert bench.bind() == "pod is gone"
    bench.api.pods["train"] = body
    bench.cluster.hold(pod("train", 8), "a")
    assert bench.bind() == ""


def test_lesson_15_a_lost_answer_whose_pod_cannot_be_read_keeps_its_gpus() -> None:
    """For as long as it takes; then the truth decides: here the bind was written."""
    bench = held()
    bench.api.lost.append(unreachable(sent=True))
    bench.api.unreadable.extend([unreachable(sent=True), refused(503, "Unavailable", ""), unreachable(sent=False)])
    assert bench.bind() == "API server: no answer; the bind is being settled"
    assert bench.pauses == [0.05, 0.2]
    bench.api.unreadable.append(unreachable(sent=True))
    assert bench.settle() == [False]
    assert sorted(bench.cluster.free("a")) == [8, 16]
    assert bench.settle() == [True]
    assert bench.cluster.state.unsettled(0.0) == []
    assert sorted(bench.cluster.free("a")) == [8, 16]
    assert bench.bind() == ""


def test_settling_a_pod_that_is_gone_frees_its_gpus() -> None:
    """Deleted meanwhile."""
    bench = held()
    bench.api.refusals.append(unreachable(sent=True))
    bench.api.untouchable.extend([unreachable(sent=True)] * 3)
    bench.bind()
    del bench.api.pods["train"]
    bench.settle()
    assert bench.cluster.free("a") == [16, 16]


def test_a_bind_that_is_under_way_is_not_settled_from_outside() -> None:
    """Its own call does that; a second call for the pod is refused."""
    bench = held()
    bench.api.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(bench.bind)
        assert bench.api.entered.acquire(timeout=30)
        try:
            assert bench.settle() == [True]
            assert bench.bind() == "another bind of the pod is under way"
            assert (bench.api.reads, bench.cluster.state.counts()["assumed"]) == (0, 1)
        finally:
            bench.api.gate.set()
        assert answer.result(30) == ""


def test_a_pod_that_cannot_be_read_is_not_bound_blindly() -> None:
    """Unknown, and the API server is away."""
    bench = Bench(pod("train", 8))
    bench.api.unreadable.append(unreachable(sent=True))
    assert bench.bind() == "pod can't be read: timed out"
    assert (bench.api.binds, bench.cluster.free("a")) == (0, [16, 16])


def test_no_room_is_a_refusal_without_a_write() -> None:
    """The constant sentence of filter."""
    bench = Bench(pod("train", 17))
    assert bench.bind() == "request is larger than the GPUs of the node"
    assert bench.api.binds == 0


def test_lesson_14_filter_answers_while_a_bind_waits_for_the_api_server() -> None:
    """No lock is held during the call."""
    bench = held()
    bench.api.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(bench.bind)
        assert bench.api.entered.acquire(timeout=30)
        try:
            asked = pool_free_filter(bench)
        finally:
            bench.api.gate.set()
        assert isinstance(asked, Passed)
        assert answer.result(30) == ""


def pool_free_filter(bench: Bench) -> object:
    """A filter call from a thread of its own, so that a deadlock ends the test."""
    answers: list[object] = []
    thread = threading.Thread(target=lambda: answers.append(bench.cluster.filter(pod("other", 8))), daemon=True)
    thread.start()
    thread.join(30)
    return answers[0] if answers else "filter is blocked"


def test_forty_binds_run_side_by_side() -> None:
    """All forty are at the API server at once, and none waits for another."""
    pods = [pod(f"p{at}", 1) for at in range(40)]
    bench = Bench(*pods)
    nodes = [bench.cluster.hold(body).node for body in pods]
    bench.api.gate.clear()
    with ThreadPoolExecutor(40) as pool:
        answers = [pool.submit(bench.bind, f"p{at}", held) for at, held in enumerate(nodes)]
        entered = [bench.api.entered.acquire(timeout=30) for _ in pods]
        bench.api.gate.set()
        assert [answer.result(30) for answer in answers] == [""] * 40
    assert entered == [True] * 40
    assert sum(bench.cluster.free("a")) + sum(bench.cluster.free("b")) == 48 - 40
    for body in bench.api.pods.values():
        bench.cluster.show(body)
    assert sum(bench.cluster.free("a")) + sum(bench.cluster.free("b")) == 48 - 40


def test_a_read_back_that_is_no_pod_keeps_the_gpus() -> None:
    """A proxy answers 200 with something else: nothing is proved by it."""
    bench = held()
    bench.api.refusals.append(unreachable(sent=True))
    bench.api.pods["train"] = {"kind": "Status"}
    assert "the bind is being settled" in bench.bind()
    assert raw(bench.api.pods["train"]) == b'{"kind": "Status"}'
    assert sorted(bench.cluster.free("a")) == [8, 16]


@pytest.mark.parametrize("change", [{"name": "other"}, {"namespace": "other"}, {"uid": ""}])
def test_a_read_back_that_is_another_pod_keeps_the_gpus(change: Json) -> None:
    """Nothing is proved by it, either."""
    bench = held()
    bench.api.refusals.append(unreachable(sent=True))
    bench.api.pods["train"]["metadata"].update(change)
    assert "the bind is being settled" in bench.bind()
    assert sorted(bench.cluster.free("a")) == [8, 16]


def stopped(seconds: float) -> Bench:
    """A pod that passed filter before the process was stopped, and one that another leader has bound meanwhile."""
    bench = Bench(pod("train", 16), pod("theirs", 16))
    plan = bench.cluster.hold(pod("train", 16), "a").allocation.containers["main"]
    chosen = {str(gpu): int(units) for gpu, units in plan.items()}
    bench.api.write("theirs", "uid-theirs", "a", {ALLOCATION: allocation({"main": chosen})})
    bench.cluster.clock.advance(seconds)
    return bench


def test_a_bind_with_an_old_hold_first_reads_the_pods_of_the_node() -> None:
    """What another leader has bound there is charged, and the pod gets another GPU."""
    bench = stopped(16)
    assert bench.bind() == ""
    assert (bench.api.lists, bench.cluster.free("a")) == (1, [0, 0])
    for body in bench.api.pods.values():
        bench.cluster.show(body)
    assert bench.cluster.free("a") == [0, 0]


def continued(*, after_s: float) -> Bench:
    """A pod that passed filter `after_s` after a standstill, on a view that lacks what another leader has bound."""
    bench = Bench(pod("train", 16), pod("theirs", 16))
    bench.cluster.clock.advance(16)
    bench.cluster.state.beat()
    for _ in range(int(after_s)):
        bench.cluster.clock.advance(1)
        bench.cluster.state.beat()
    plan = bench.cluster.hold(pod("train", 16), "a").allocation.containers["main"]
    chosen = {str(gpu): int(units) for gpu, units in plan.items()}
    bench.api.write("theirs", "uid-theirs", "a", {ALLOCATION: allocation({"main": chosen})})
    return bench


def test_a_hold_from_just_after_a_standstill_is_not_trusted() -> None:
    """Filter is asked before the watches have told what happened while the process was stopped."""
    bench = continued(after_s=0)
    assert bench.bind() == ""
    assert (bench.api.lists, bench.cluster.free("a")) == (1, [0, 0])
    for body in bench.api.pods.values():
        bench.cluster.show(body)
    assert bench.cluster.free("a") == [0, 0]


def test_a_standstill_is_over_when_the_watches_have_caught_up() -> None:
    """A bind costs one write again."""
    bench = continued(after_s=CATCH_UP_S)
    assert bench.bind() == ""
    assert bench.api.lists == 0


def test_a_bind_with_a_fresh_hold_reads_nothing() -> None:
    """It costs one write."""
    bench = held()
    assert bench.bind() == ""
    assert (bench.api.lists, bench.api.reads) == (0, 0)


def test_a_bind_without_a_hold_first_reads_the_pods_of_the_node() -> None:
    """After a restart, or when the hold is over."""
    bench = stopped(HOLD_S + 1)
    bench.cluster.state.snapshot()
    assert bench.bind() == ""
    assert (bench.api.lists, bench.cluster.free("a")) == (1, [0, 0])


@pytest.mark.parametrize("trouble", [unreachable(sent=True), ApiError(404, "Not Found", "default backend - 404")])
def test_a_node_whose_pods_cannot_be_read_is_not_bound_to(trouble: Trouble) -> None:
    """The plan may be as old as the view."""
    bench = stopped(16)
    bench.api.unlisted.append(trouble)
    assert bench.bind() == f"pods of the node can't be read: {trouble}"
    assert bench.api.binds == 0


def test_a_bind_that_writes_nothing_ends_the_hold() -> None:
    """kube-scheduler's attempt is over, and others may have the room at once."""
    bench = held()
    bench.cluster.clock.advance(4)
    bench.api.unlisted.append(unreachable(sent=True))
    assert bench.bind() == "pods of the node can't be read: timed out"
    assert bench.cluster.free("a") == [16, 16]


def test_a_bind_that_writes_nothing_leaves_the_hold_of_the_next_attempt() -> None:
    """kube-scheduler has given the call up and asked again meanwhile."""
    bench = held()
    bench.cluster.clock.advance(4)

    class Slow(BindingApi):
        def list_page(self, *_args: object, **_kwargs: object) -> bytes:
            bench.cluster.clock.advance(1)
            bench.cluster.hold(pod("train", 8), "a")
            raise unreachable(sent=True)

    binder = Binder(bench.cluster.state, Slow(), bench.cluster.names, bench.cluster.decoder, clock=bench.cluster.clock)
    assert binder.bind(decode_binding_args(bind_call("train", "a"))) == "pods of the node can't be read: timed out"
    assert sorted(bench.cluster.free("a")) == [8, 16]
