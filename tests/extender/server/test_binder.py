"""Bind: one Binding for each pod, and an answer that is true whatever the API server and the network do."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from extender.kube.errors import ApiError
from extender.server.binder import LATE_WRITE_S, WRITE_TIMEOUT_S, Binder
from extender.server.state.outcomes import Passed, Unavailable
from extender.server.wire import decode_binding_args
from tests.extender.cluster import HOLD_S, Cluster
from tests.extender.objects import Json, allocation, bind_call, node, pod, raw, uuid
from tests.fakes.binding_api import BindingApi, Trouble, unreachable

SETTLED_S = LATE_WRITE_S + WRITE_TIMEOUT_S
ALLOCATION = "gpupack.io/allocation"


class Bench:
    """A node `a` of two GPUs of 16 units, a node `b` of one, and pods; pauses take no time and are remembered."""

    def __init__(self, *pods: Json) -> None:
        self.cluster = Cluster(node("a", 16, 16), node("b", 16))
        self.api = BindingApi(*pods)
        self.pauses: list[float] = []
        self.binder = Binder(
            self.cluster.state, self.api, self.cluster.names, self.cluster.decoder, pause=self.pauses.append
        )

    def bind(self, name: str = "train", target: str = "a", uid: str = "") -> str:
        """A bind call; its answer."""
        return self.binder.bind(decode_binding_args(bind_call(name, target, uid=uid)))

    def settle(self, age_s: float) -> None:
        """What upkeep does for assumptions of that age."""
        self.cluster.clock.advance(age_s)
        for one in self.cluster.state.unsettled(age_s):
            self.binder.settle(one, age_s)

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


@pytest.mark.parametrize(
    ("written", "answer"), [(True, ""), (False, "API server: timed out")], ids=["written", "not written"]
)
def test_a_lost_answer_of_a_bind_without_gpus_is_settled_at_once(*, written: bool, answer: str) -> None:
    """There is nothing to keep meanwhile."""
    bench = Bench(pod("train", "0"))
    (bench.api.lost if written else bench.api.refusals).append(unreachable(sent=True))
    assert bench.bind() == answer


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


@pytest.mark.parametrize(
    "refusal",
    [
        ApiError(403, "Forbidden", "no rights"),
        ApiError(409, "Conflict", "gated"),
        ApiError(429, "TooManyRequests", "slow down"),
        unreachable(sent=False),
    ],
)
def test_a_bind_that_was_surely_not_written_is_forgotten(refusal: Trouble) -> None:
    """The text says why, the room is free at once, and the next try may do."""
    bench = held()
    bench.api.refusals.append(refusal)
    assert bench.bind() == f"API server: {refusal}"
    assert bench.cluster.free("a") == [16, 16]
    assert bench.bind() == ""


@pytest.mark.parametrize(
    "trouble", [unreachable(sent=True), ApiError(500, "InternalError", "etcd"), ApiError(408, "Timeout", "slow")]
)
def test_lesson_15_a_lost_answer_of_a_bind_that_was_written_is_a_success(trouble: Trouble) -> None:
    """A live read settles it at once."""
    bench = held()
    bench.api.lost.append(trouble)
    assert bench.bind() == ""
    assert (bench.bound_to(), bench.verdict()) == ("a", "bound")
    assert sorted(bench.cluster.free("a")) == [8, 16]


@pytest.mark.parametrize("trouble", [unreachable(sent=True), ApiError(504, "Timeout", "etcd")])
def test_lesson_15_a_lost_bind_that_may_yet_be_written_keeps_its_gpus(trouble: Trouble) -> None:
    """An unbound pod proves nothing yet; later it does."""
    bench = held()
    bench.api.refusals.append(trouble)
    assert bench.bind() == f"API server: {trouble}; the bind is being settled"
    bench.settle(SETTLED_S - 0.1)
    assert sorted(bench.cluster.free("a")) == [8, 16]
    settling = Unavailable("an earlier bind of the pod to a is being settled")
    assert bench.cluster.filter(pod("train", 8), "a") == settling
    bench.settle(SETTLED_S)
    assert bench.cluster.free("a") == [16, 16]
    assert isinstance(bench.cluster.filter(pod("train", 8), "a"), Passed)


def test_lesson_15_a_lost_answer_whose_pod_cannot_be_read_keeps_its_gpus() -> None:
    """For as long as it takes; then the truth decides: here the bind was written."""
    bench = held()
    bench.api.lost.append(unreachable(sent=True))
    bench.api.unreadable.extend([unreachable(sent=True), ApiError(503, "Unavailable", ""), unreachable(sent=False)])
    assert bench.bind() == "API server: timed out; the bind is being settled"
    assert bench.pauses == [0.05, 0.2, 0.5]
    bench.api.unreadable.append(unreachable(sent=True))
    bench.settle(10 * HOLD_S)
    assert sorted(bench.cluster.free("a")) == [8, 16]
    bench.settle(10 * HOLD_S)
    assert bench.cluster.state.unsettled(0.0) == []
    assert sorted(bench.cluster.free("a")) == [8, 16]
    assert bench.bind() == ""


def test_a_late_write_is_found_by_settling() -> None:
    """The API server carried it out after we had read the pod as unbound."""
    bench = held()
    bench.api.refusals.append(unreachable(sent=True))
    bench.bind()
    bench.api.write("train", "uid-train", "a", {ALLOCATION: allocation({"main": {uuid("a", 0): 8}})})
    bench.settle(SETTLED_S)
    assert bench.cluster.state.counts()["assumed"] == 0
    assert bench.cluster.free("a") == [8, 16]


def test_settling_a_pod_that_is_gone_frees_its_gpus() -> None:
    """Deleted meanwhile."""
    bench = held()
    bench.api.refusals.append(unreachable(sent=True))
    bench.bind()
    del bench.api.pods["train"]
    bench.settle(0.1)
    assert bench.cluster.free("a") == [16, 16]


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
