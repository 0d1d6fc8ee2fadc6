"""The HTTP surface: what each endpoint answers, and with which status."""

import json
import logging
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from extender.contract.names import Names
from extender.server.http.routes import create_app, create_observer_app
from tests.extender import golden
from tests.extender.go_answers import BindingResult, FilterResult, HostPriority, PreemptionResult, read
from tests.extender.objects import Json, bind_call, filter_call, node, pod, raw, uuid
from tests.extender.served import MAX_BODY_BYTES, Served

VERBS = ("filter", "prioritize", "preempt", "bind")
UNREADABLE = [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"Pod":', b"{}", b"[" * 50_000]


def client_of(served: Served) -> FlaskClient:
    """A client of the app."""
    return create_app(served.parts).test_client()


def post(client: FlaskClient, verb: str, body: bytes) -> TestResponse:
    """One of kube-scheduler's calls."""
    return client.post(f"/{verb}", data=body, content_type="application/json")


def test_a_pod_goes_through_filter_prioritize_and_bind() -> None:
    """Each answer as kube-scheduler reads it, with a length and a content type."""
    train = pod("train", 8)
    served = Served(node("a", 16), node("b", 10), pods=(train,), answers=2)
    client = client_of(served)
    answers = [
        post(client, "filter", filter_call(train, ["a", "b"])),
        post(client, "prioritize", filter_call(train, ["b", "a"])),
        post(client, "bind", bind_call("train", "b")),
    ]
    assert read(answers[0].data, FilterResult) == FilterResult(node_names=["b", "a"])
    assert read(answers[1].data, list[HostPriority]) == [HostPriority("b", 10), HostPriority("a", 0)]
    assert read(answers[2].data, BindingResult) == BindingResult("")
    assert served.api.pods["train"]["spec"]["nodeName"] == "b"
    for answer in answers:
        assert (answer.status_code, answer.content_type) == (200, "application/json")
        assert answer.headers["Content-Length"] == str(len(answer.data))


def test_a_pod_that_fits_nowhere_gets_a_reason_per_node() -> None:
    """Constant sentences, unresolvable, no error."""
    answer = post(client_of(Served(node("a", 16), node("b", 4))), "filter", filter_call(pod("train", 20), ["a", "b"]))
    text = "request is larger than the GPUs of the node"
    expected = FilterResult(node_names=[], failed_and_unresolvable_nodes={"a": text, "b": text})
    assert (answer.status_code, read(answer.data, FilterResult)) == (200, expected)


def test_an_unavailable_filter_is_200_with_an_error() -> None:
    """Kube-scheduler drops the body of any other status."""
    served = Served(node("a", 16))
    served.cluster.problem = "the scheduler extender has not read the cluster yet"
    answer = post(client_of(served), "filter", filter_call(pod("train", 8), ["a"]))
    expected = FilterResult(error="gpupack: the scheduler extender has not read the cluster yet")
    assert (answer.status_code, read(answer.data, FilterResult)) == (200, expected)


def test_a_failed_bind_is_200_with_an_error() -> None:
    """The text goes into the pod's events."""
    answer = post(client_of(Served(node("a", 4), pods=(pod("train", 8),))), "bind", bind_call("train", "a"))
    expected = BindingResult("gpupack: request is larger than the GPUs of the node")
    assert (answer.status_code, read(answer.data, BindingResult)) == (200, expected)


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
    answer = post(client_of(served), "preempt", raw(body))
    (victims,) = read(answer.data, PreemptionResult).node_name_to_meta_victims.values()
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
    answer = post(client_of(served), name.partition("-")[0], golden.body(name))
    assert answer.status_code == 200
    decoded = read(answer.data, kind)
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
        answer = post(client_of(served), verb, body)
    assert (answer.status_code, answer.content_type) == (400, "application/json")
    assert json.loads(answer.data)["Error"].startswith("gpupack: Extender")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert served.sample("gpupack_extender_requests_total", verb=verb, outcome="malformed") == 1


def test_a_huge_body_is_413_and_says_the_limit() -> None:
    """Before it is read."""
    answer = post(client_of(Served(node("a", 16))), "filter", b" " * (MAX_BODY_BYTES + 1))
    expected = {"error": f"body is too large, expected at most {MAX_BODY_BYTES} bytes"}
    assert (answer.status_code, answer.json) == (413, expected)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_the_verbs_are_post_only(verb: str, method: str) -> None:
    """A browser that wanders by changes nothing."""
    answer = client_of(Served(node("a", 16))).open(f"/{verb}", method=method)
    assert (answer.status_code, "POST" in answer.headers["Allow"]) == (405, True)


def test_outcomes_are_counted_and_timed() -> None:
    """By verb."""
    served = Served(node("a", 16))
    client = client_of(served)
    post(client, "filter", filter_call(pod("train", 8), ["a"]))
    post(client, "filter", filter_call(pod("other", 80), ["a"]))
    post(client, "bind", bind_call("nobody", "a"))
    counts = {
        (verb, outcome): served.sample("gpupack_extender_requests_total", verb=verb, outcome=outcome)
        for verb, outcome in (("filter", "ok"), ("filter", "rejected"), ("filter", "unavailable"), ("bind", "error"))
    }
    assert list(counts.values()) == [1, 1, 0, 1]
    assert served.sample("gpupack_extender_request_duration_seconds_count", verb="filter") == 2


def test_nodes_are_shown_with_gpus_and_holders() -> None:
    """Capacity, allocated, held, free: for scripts."""
    served = Served(node("b", 8), node("a", 16))
    served.cluster.show_bound("p0", 4, uuid("a", 0), "a")
    served.cluster.hold(pod("p1", 8), "a")
    answer = client_of(served).get("/v1/nodes")
    body = answer.json
    assert body is not None
    assert (answer.status_code, body["unitMib"], [each["name"] for each in body["nodes"]]) == (200, 1024, ["a", "b"])
    (gpu,) = body["nodes"][0]["gpus"]
    amounts = {key: gpu[key] for key in ("uuid", "capacity", "allocated", "held", "free")}
    assert amounts == {"uuid": uuid("a", 0), "capacity": 16, "allocated": 4, "held": 8, "free": 4}
    assert [(each["name"], each["units"], each["state"]) for each in gpu["holders"]] == [
        ("p0", 4, "bound"),
        ("p1", 8, "held"),
    ]


def test_explain_says_why_and_404_says_of_whom_nothing_is_known() -> None:
    """With a limit for the nodes that are shown in full."""
    served = Served(node("a", 4), node("b", 4))
    served.cluster.filter(pod("train", 8))
    client = client_of(served)
    assert len((client.get("/v1/explain/default/train").json or {})["nodes"]) == 2
    assert len((client.get("/v1/explain/default/train?limit=1").json or {})["nodes"]) == 1
    assert (client.get("/v1/explain/default/train?limit=-5").json or {})["nodes"] == []
    answer = client.get("/v1/explain/default/nobody")
    expected = {"error": "no pod default/nobody that asks for GPUs is known"}
    assert (answer.status_code, answer.json) == (404, expected)


@pytest.mark.parametrize("make", [create_app, create_observer_app])
def test_health_and_metrics_are_on_both_addresses(make: Any) -> None:
    """503 with the reason as text while not ready or not alive."""
    served = Served(node("a", 16))
    app: Flask = make(served.parts)
    client = app.test_client()
    assert [client.get(path).status_code for path in ("/healthz", "/readyz", "/metrics")] == [200, 200, 200]
    served.not_ready, served.dead = "not read yet", "an HTTP server has ended"
    answers = [client.get(path) for path in ("/readyz", "/healthz")]
    assert [(each.status_code, each.text) for each in answers] == [
        (503, "not read yet\n"),
        (503, "an HTTP server has ended\n"),
    ]
    assert b"gpupack_extender_nodes 1.0" in client.get("/metrics").data


def test_lesson_20_the_observers_address_binds_and_tells_nothing() -> None:
    """Reachable from elsewhere: neither the verbs nor the pods' names, and no profiler."""
    client = create_observer_app(Served(node("a", 16)).parts).test_client()
    paths = [*VERBS, "v1/nodes", "v1/explain/default/train", "debug/pprof/", ""]
    assert [client.post(f"/{path}").status_code for path in paths] == [404] * len(paths)
    assert [client.get(f"/{path}").status_code for path in paths] == [404] * len(paths)


def test_a_filter_of_a_thousand_whole_nodes_of_which_none_is_known() -> None:
    """Kube-scheduler knows nodes before we do: a reason for each, no error."""
    names = [f"n{at}" for at in range(300)]
    answer = post(client_of(Served(node("a", 16))), "filter", filter_call(pod("train", 8), names))
    reasons = read(answer.data, FilterResult).failed_and_unresolvable_nodes
    assert reasons == dict.fromkeys(names, "node is not known to gpupack")


@pytest.mark.parametrize("header", ["Origin", "Sec-Fetch-Site"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_web_page_cannot_make_the_browser_call_the_scheduler_s_verbs(verb: str, header: str) -> None:
    """Somebody looks at the page through `kubectl port-forward`, and at a hostile one beside it."""
    served = Served(node("a", 16), pods=(pod("train", 8),))
    body = bind_call("train", "a") if verb == "bind" else filter_call(pod("train", 8), ["a"])
    answer = client_of(served).post(f"/{verb}", data=body, headers={header: "https://evil.example"})
    assert (answer.status_code, answer.json) == (403, {"Error": "gpupack: calls from a browser are refused"})
    assert "nodeName" not in served.api.pods["train"]["spec"]
