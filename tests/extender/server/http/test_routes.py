"""What people and probes look at: /v1, health and metrics."""

from tests.extender.objects import node, pod, uuid
from tests.extender.served import Served


def test_nodes_are_shown_with_gpus_and_holders() -> None:
    """Capacity, allocated, held, free: for scripts."""
    served = Served(node("b", 8), node("a", 16))
    served.cluster.show_bound("p0", 4, uuid("a", 0), "a")
    served.cluster.hold(pod("p1", 8), "a")
    answer = served.app.test_client().get("/v1/nodes")
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
    client = served.app.test_client()
    assert len((client.get("/v1/explain/default/train").json or {})["nodes"]) == 2
    assert len((client.get("/v1/explain/default/train?limit=1").json or {})["nodes"]) == 1
    assert (client.get("/v1/explain/default/train?limit=-5").json or {})["nodes"] == []
    answer = client.get("/v1/explain/default/nobody")
    expected = {"error": "no pod default/nobody that asks for GPUs is known"}
    assert (answer.status_code, answer.json) == (404, expected)


def test_health_is_503_with_the_reason_as_text() -> None:
    """While not ready or not alive; answered without waiting for a thread."""
    served = Served(node("a", 16))
    health, ready = served.probes["/healthz"].at_once, served.probes["/readyz"].at_once
    assert health is not None
    assert ready is not None
    assert [health(b""), ready(b"")] == [(200, b"ok\n"), (200, b"ok\n")]
    served.not_ready, served.dead = "not read yet", "an HTTP server has ended"
    assert [health(b""), ready(b"")] == [(503, b"an HTTP server has ended\n"), (503, b"not read yet\n")]


def test_metrics_are_prometheus_text_made_by_a_thread() -> None:
    """They take some milliseconds, which kube-scheduler's calls need not wait."""
    call = Served(node("a", 16)).probes["/metrics"]
    status, text = call.answer(b"")
    assert (status, call.at_once, call.content_type.partition(";")[0]) == (200, None, "text/plain")
    assert b"gpupack_extender_nodes 1.0" in text


def test_lesson_20_probes_are_all_that_is_reachable_from_elsewhere() -> None:
    """Neither the verbs nor the pods' names, and no profiler."""
    served = Served(node("a", 16))
    assert {path: call.method for path, call in served.probes.items()} == {
        "/healthz": "GET",
        "/readyz": "GET",
        "/metrics": "GET",
    }
