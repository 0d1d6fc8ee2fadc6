"""kube-scheduler's four verbs: what each answers, with which status, and what is counted."""

import json
import logging
from typing import Any

import pytest

from extender.contract.names import Names
from extender.server import verbs
from tests.extender import golden
from tests.extender.go_answers import BindingResult, FilterResult, HostPriority, PreemptionResult, read
from tests.extender.objects import Json, bind_call, filter_call, node, pod, raw, uuid
from tests.extender.served import Served

VERBS = ("filter", "prioritize", "preempt", "bind")
UNREADABLE = [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"Pod":', b"{}", b"[" * 50_000]


def test_a_pod_goes_through_filter_prioritize_and_bind() -> None:
    """Each answer as kube-scheduler reads it."""
    train = pod("train", 8)
    served = Served(node("a", 16), node("b", 10), pods=(train,), answers=2)
    answers = [
        served.call("filter", filter_call(train, ["a", "b"])),
        served.call("prioritize", filter_call(train, ["b", "a"])),
        served.call("bind", bind_call("train", "b")),
    ]
    assert [status for status, _ in answers] == [200, 200, 200]
    assert read(answers[0][1], FilterResult) == FilterResult(node_names=["b", "a"])
    assert read(answers[1][1], list[HostPriority]) == [HostPriority("b", 10), HostPriority("a", 0)]
    assert read(answers[2][1], BindingResult) == BindingResult("")
    assert served.api.pods["train"]["spec"]["nodeName"] == "b"


def test_a_pod_that_fits_nowhere_gets_a_reason_per_node() -> None:
    """Constant sentences, unresolvable, no error."""
    status, answer = Served(node("a", 16), node("b", 4)).call("filter", filter_call(pod("train", 20), ["a", "b"]))
    text = "request is larger than the GPUs of the node"
    expected = FilterResult(node_names=[], failed_and_unresolvable_nodes={"a": text, "b": text})
    assert (status, read(answer, FilterResult)) == (200, expected)


def test_an_unavailable_filter_is_200_with_an_error() -> None:
    """Kube-scheduler drops the body of any other status."""
    served = Served(node("a", 16))
    served.cluster.problem = "the scheduler extender has not read the cluster yet"
    status, answer = served.call("filter", filter_call(pod("train", 8), ["a"]))
    expected = FilterResult(error="gpupack: the scheduler extender has not read the cluster yet")
    assert (status, read(answer, FilterResult)) == (200, expected)


def test_a_failed_bind_is_200_with_an_error() -> None:
    """The text goes into the pod's events."""
    status, answer = Served(node("a", 4), pods=(pod("train", 8),)).call("bind", bind_call("train", "a"))
    expected = BindingResult("gpupack: request is larger than the GPUs of the node")
    assert (status, read(answer, BindingResult)) == (200, expected)


def test_preempt_answers_by_uid() -> None:
    """In the form that kube-scheduler reads, with the victim that it really takes."""
    served = Served(node("a", 16, 16), node("b", 4))
    served.cluster.show_bound("low0", 16, uuid("a", 0), "a")
    served.cluster.show_bound("low1", 16, uuid("a", 1), "a")
    body = {
        "Pod": pod("urgent", 16, priority=9),
        "NodeNameToMetaVictims": {
            "a": {"Pods": [{"UID": "uid-low1"}], "NumPDBViolations": 1},
            "b": {"Pods": [], "NumPDBViolations": 0},
        },
    }
    _, answer = served.call("preempt", raw(body))
    (victims,) = read(answer, PreemptionResult).node_name_to_meta_victims.values()
    assert ([each.uid for each in victims.pods], victims.violations) == (["uid-low1"], 1)


@pytest.mark.parametrize("name", list(golden.EXCHANGES))
def test_recorded_calls_are_answered_in_the_form_asked_for(name: str) -> None:
    """Every recorded body of a real kube-scheduler, on a cluster with GPUs of the recorded names."""
    prefix = Names(prefix="example.com")
    served = Served(names=prefix)
    for at in range(20):
        made = json.loads(raw(node(f"n{at:05d}", 40, 40)).replace(b"gpupack.io/", b"example.com/"))
        served.cluster.add_node(made)
    call: Json = json.loads(golden.body(name))
    kind: Any = {
        "filter": FilterResult,
        "prioritize": list[HostPriority],
        "preempt": PreemptionResult,
        "bind": BindingResult,
    }[name.partition("-")[0]]
    status, answer = served.call(name.partition("-")[0], golden.body(name))
    assert status == 200
    decoded = read(answer, kind)
    if isinstance(decoded, FilterResult):
        assert (decoded.node_names is None) == (call["NodeNames"] is None)
        assert (decoded.nodes is None) == (call["Nodes"] is None)
        assert decoded.error == ""
    elif isinstance(decoded, list):
        asked = call["NodeNames"] or [each["metadata"]["name"] for each in call["Nodes"]["items"]]
        assert [each.host for each in decoded] == asked
    elif isinstance(decoded, PreemptionResult):
        offered = call["NodeNameToMetaVictims"] or call["NodeNameToVictims"]
        assert set(decoded.node_name_to_meta_victims) == set(offered)
    else:
        assert decoded.error == "gpupack: pod is gone"


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("body", UNREADABLE)
def test_only_a_call_that_cannot_be_read_is_400(verb: str, body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """With the reason in the body and one warning in the log."""
    served = Served(node("a", 16))
    with caplog.at_level(logging.INFO):
        status, answer = served.call(verb, body)
    assert status == 400
    assert json.loads(answer)["Error"].startswith("gpupack: Extender")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert served.sample("gpupack_extender_requests_total", verb=verb, outcome="malformed") == 1


def test_outcomes_are_counted_and_timed() -> None:
    """By verb."""
    served = Served(node("a", 16))
    served.call("filter", filter_call(pod("train", 8), ["a"]))
    served.call("filter", filter_call(pod("other", 80), ["a"]))
    served.call("bind", bind_call("nobody", "a"))
    counts = {
        (verb, outcome): served.sample("gpupack_extender_requests_total", verb=verb, outcome=outcome)
        for verb, outcome in (("filter", "ok"), ("filter", "rejected"), ("filter", "unavailable"), ("bind", "error"))
    }
    assert list(counts.values()) == [1, 1, 0, 1]
    assert served.sample("gpupack_extender_request_duration_seconds_count", verb="filter") == 2


def test_a_filter_of_nodes_of_which_none_is_known_has_a_reason_for_each() -> None:
    """Kube-scheduler knows nodes before the extender does; no error."""
    names = [f"n{at}" for at in range(300)]
    _, answer = Served(node("a", 16)).call("filter", filter_call(pod("train", 8), names))
    reasons = read(answer, FilterResult).failed_and_unresolvable_nodes
    assert reasons == dict.fromkeys(names, "node is not known to gpupack")


def preempted() -> tuple[Served, Json]:
    """A full node, and a pod of priority that was told to evict the one pod there."""
    served = Served(node("a", 16))
    served.cluster.show_bound("low", 16, uuid("a", 0), "a")
    urgent = pod("urgent", 16, priority=9)
    urgent["status"] = {**urgent.get("status", {}), "nominatedNodeName": "a"}
    victims = {"a": {"Pods": [{"UID": "uid-low"}], "NumPDBViolations": 0}}
    served.call("preempt", raw({"Pod": urgent, "NodeNameToMetaVictims": victims}))
    return served, urgent


def test_filter_waits_a_moment_for_victims_to_be_seen_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a thread, not in the event loop; kube-scheduler would evict more after a refusal."""
    served, urgent = preempted()
    body = filter_call(urgent, ["a"])
    at_once = served.calls["/filter"].at_once
    assert at_once is not None
    assert at_once(body) is None
    monkeypatch.setattr("time.sleep", lambda _s: served.cluster.delete("low"))
    assert read(served.call("filter", body)[1], FilterResult) == FilterResult(node_names=["a"])
    assert at_once(body) is not None


def test_filter_does_not_wait_for_ever_for_victims(monkeypatch: pytest.MonkeyPatch) -> None:
    """No error, which would end the nomination; and not out of reach, which would make kube-scheduler evict others."""
    served, urgent = preempted()
    monkeypatch.setattr(verbs, "VICTIMS_WAIT_S", 0.01)
    text = "pods that were evicted for this one still hold their memory"
    expected = FilterResult(node_names=[], failed_nodes={"a": text}, failed_and_unresolvable_nodes={})
    assert read(served.call("filter", filter_call(urgent, ["a"]))[1], FilterResult) == expected


def test_an_unforeseen_error_is_logged_and_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """200, so that kube-scheduler reads the error; the details stay in the log."""
    served = Served(node("a", 16))
    monkeypatch.setattr(served.cluster.state, "filter", lambda *_: 1 / 0)
    expected = FilterResult(error="gpupack: internal error, see its log")
    status, answer = served.call("filter", filter_call(pod("train", 8), ["a"]))
    assert (status, read(answer, FilterResult)) == (200, expected)
    assert served.sample("gpupack_extender_requests_total", verb="filter", outcome="error") == 1
