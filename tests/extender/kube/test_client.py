"""Requests to the API server: what is sent, what comes back, and what each kind of failure is called."""

import json
import threading
from pathlib import Path

import pytest
import urllib3

from extender.kube.client import KubeApi, connect, events_path, node_path, pod_path
from extender.kube.errors import AnswerTooLargeError, ApiError, ApiUnreachable
from tests.extender.api_calls import PODS, bind
from tests.fakes.api_server import ApiServer, Exchange, kubeconfig_for, listing, pod, pod_list, refusing, refusing_port


def ok(exchange: Exchange) -> None:
    """Answer as the API server does to a write."""
    exchange.answer(201, {"kind": "Status", "status": "Success"})


def test_list_page_asks_for_one_page(api: KubeApi, server: ApiServer) -> None:
    """Limit and token are query parameters; the body comes back untouched."""
    expected = json.dumps(pod_list(7, [pod("a", 3)], "next")).encode()
    server.on_list(lambda exchange: exchange.answer(200, expected))
    actual = api.list_page(PODS, 500, "to/ken=&", 5.0)
    (request,) = server.requests
    assert expected == actual
    assert (request.path, request.query) == (PODS, {"limit": "500", "continue": "to/ken=&"})
    assert request.headers["authorization"] == "Bearer secret-token"
    assert request.headers["accept"] == "application/json"
    assert request.headers["user-agent"] == "gpupack-extender"


def test_list_page_keeps_selectors_and_leaves_out_what_is_not_asked(api: KubeApi, server: ApiServer) -> None:
    """A selector in the path stays; no limit means everything."""
    server.on_list(listing(1, []))
    api.list_page(f"{PODS}?fieldSelector=status.phase!=Failed,spec.nodeName=", 0, "", 5.0)
    assert server.requests[0].query == {"fieldSelector": "status.phase!=Failed,spec.nodeName="}


def test_a_list_comes_whole_in_any_transfer_form(api: KubeApi, server: ApiServer) -> None:
    """Chunked, and larger than one read."""
    expected = json.dumps(pod_list(1, [pod(f"pod-{i}", i) for i in range(2000)])).encode()

    def chunked(exchange: Exchange) -> None:
        exchange.open_stream()
        exchange.send(*(expected[at : at + 9973] for at in range(0, len(expected), 9973)))
        exchange.end_stream()

    server.on_list(chunked, lambda exchange: exchange.answer(200, expected))
    assert [expected, expected] == [api.list_page(PODS, 0, "", 5.0) for _ in range(2)]


def test_a_list_that_is_longer_than_accepted_is_given_up(api: KubeApi, server: ApiServer) -> None:
    """As soon as that is known; what is within the bound comes whole."""
    page = json.dumps(pod_list(1, [pod("a", 1)] * 1000)).encode()
    server.on_list(*[lambda exchange: exchange.answer(200, page)] * 2)
    with pytest.raises(AnswerTooLargeError, match=f"more than {len(page) - 1} bytes"):
        api.list_page(PODS, 0, "", 5.0, max_bytes=len(page) - 1)
    assert api.list_page(PODS, 0, "", 5.0, max_bytes=len(page)) == page


def test_connections_are_used_again(api: KubeApi, server: ApiServer) -> None:
    """After lists, reads, writes and refusals alike: a new connection each time would cost a TLS handshake each."""
    server.on_list(listing(1, []))
    server.on_other(ok, refusing(409, "Conflict"), lambda exchange: exchange.answer(200, pod("train-0", 1)), ok)
    api.list_page(PODS, 500, "", 5.0)
    bind(api)
    with pytest.raises(ApiError):
        bind(api)
    api.read(pod_path("team", "train-0"))
    api.create(events_path("team"), {"reason": "Overcommitted"})
    assert [request.connection for request in server.requests] == [1] * 5


def test_bind_pod_is_one_post_with_uid_and_annotations(api: KubeApi, server: ApiServer) -> None:
    """A v1 Binding to the pod's subresource."""
    server.on_other(ok)
    bind(api)
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/api/v1/namespaces/team/pods/train-0/binding")
    assert json.loads(request.body) == {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {
            "name": "train-0",
            "namespace": "team",
            "uid": "uid-1",
            "resourceVersion": "7",
            "annotations": {"gpupack.io/allocation": "{}"},
        },
        "target": {"apiVersion": "v1", "kind": "Node", "name": "node-a"},
    }
    assert request.headers["content-type"] == "application/json"


def test_a_patch_is_a_merge_patch_and_gives_the_object_afterwards(api: KubeApi, server: ApiServer) -> None:
    """The UID in the patch makes the API server refuse it for a namesake; None removes an annotation."""
    server.on_other(lambda exchange: exchange.answer(200, {"kind": "Pod", **pod("train-0", 2)}))
    patch = {"metadata": {"uid": "uid-1", "annotations": {"gpupack.io/retry": "2", "old": None}}}
    assert json.loads(api.patch(pod_path("team", "train-0"), patch)) == {"kind": "Pod", **pod("train-0", 2)}
    (request,) = server.requests
    assert (request.method, request.path) == ("PATCH", "/api/v1/namespaces/team/pods/train-0")
    assert request.headers["content-type"] == "application/merge-patch+json"
    assert patch == json.loads(request.body)


def test_create_posts_the_object(api: KubeApi, server: ApiServer) -> None:
    """To the events of the namespace."""
    server.on_other(ok)
    api.create(events_path("team"), {"reason": "Overcommitted", "count": 1})
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/api/v1/namespaces/team/events")
    assert json.loads(request.body) == {"reason": "Overcommitted", "count": 1}


def test_patch_changes_the_fields_given(api: KubeApi, server: ApiServer) -> None:
    """A merge patch to the event itself."""
    server.on_other(lambda exchange: exchange.answer(200, {"kind": "Event", "metadata": {"name": "train-0.1a2b"}}))
    api.patch(events_path("team", "train-0.1a2b"), {"count": 2})
    (request,) = server.requests
    assert (request.method, request.path) == ("PATCH", "/api/v1/namespaces/team/events/train-0.1a2b")
    assert request.headers["content-type"] == "application/merge-patch+json"
    assert json.loads(request.body) == {"count": 2}


def test_get_pod_returns_the_object(api: KubeApi, server: ApiServer) -> None:
    """As bytes, for the decoder that the caller has."""
    server.on_other(lambda exchange: exchange.answer(200, b'{"metadata":{}}'))
    assert api.read(pod_path("team", "train-0")) == b'{"metadata":{}}'


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a?x=1", "{name}", "a%2fb", "a\n"])
def test_names_that_would_change_the_path_are_refused(api: KubeApi, server: ApiServer, name: str) -> None:
    """Before anything is sent."""
    with pytest.raises(ValueError, match="expected a Kubernetes object's name"):
        api.read(pod_path("team", name))
    assert server.requests == []


def test_a_conflict_is_an_api_error(api: KubeApi, server: ApiServer) -> None:
    """Status, reason and message are those of the Status object."""
    server.on_other(lambda exchange: exchange.refuse(409, "Conflict", "pod train-0 is already assigned to node-b"))
    with pytest.raises(ApiError) as caught:
        bind(api)
    expected = (409, "Conflict", "pod train-0 is already assigned to node-b", None)
    assert expected == (caught.value.status, caught.value.reason, caught.value.message, caught.value.retry_after_s)


def test_retry_after_is_read(api: KubeApi, server: ApiServer) -> None:
    """From the header, and the write is not repeated behind the caller's back."""
    server.on_other(refusing(429, "TooManyRequests", {"Retry-After": "7"}), ok)
    with pytest.raises(ApiError) as caught:
        bind(api)
    assert (caught.value.status, caught.value.retry_after_s, len(server.requests)) == (429, 7.0, 1)


def test_an_error_that_is_no_status_object_is_shown(api: KubeApi, server: ApiServer) -> None:
    """A proxy's page gives the phrase and the start of its text."""
    server.on_list(lambda exchange: exchange.answer(502, b"<html>no upstream" + b"x" * 9000))
    with pytest.raises(ApiError, match="502 Bad Gateway: <html>no upstream") as caught:
        api.list_page(PODS, 500, "", 5.0)
    assert len(caught.value.message) == 500


def test_an_error_that_breaks_off_is_still_that_error(api: KubeApi, server: ApiServer) -> None:
    """The status line is an answer."""
    server.on_other(lambda exchange: exchange.answer_half(403, {"reason": "Forbidden", "message": "x" * 100}))
    with pytest.raises(ApiError) as caught:
        bind(api)
    assert (caught.value.status, caught.value.reason) == (403, "Forbidden")


def test_a_redirect_is_not_followed(api: KubeApi, server: ApiServer) -> None:
    """Credentials go to one server only."""
    server.on_list(lambda exchange: exchange.answer(307, b"", {"Location": "http://127.0.0.1:1/elsewhere"}))
    with pytest.raises(ApiError) as caught:
        api.list_page(PODS, 500, "", 5.0)
    assert (caught.value.status, len(server.requests)) == (307, 1)


def test_a_refused_connection_was_not_sent(server: ApiServer, tmp_path: Path) -> None:
    """The bind can be forgotten: nothing has left."""
    path = Path(kubeconfig_for(server, tmp_path))
    with refusing_port() as port:
        path.write_text(path.read_text().replace(str(server.port), str(port)))
        with pytest.raises(ApiUnreachable) as caught:
            bind(connect(str(path)))
    assert caught.value.sent is False


@pytest.mark.parametrize("fault", [Exchange.reset, Exchange.hang_up], ids=["reset", "closed"])
def test_a_lost_bind_reply_may_have_been_executed(api: KubeApi, server: ApiServer, fault: object) -> None:
    """The request arrived, the answer did not: only a live read can tell (lesson 15)."""
    assert callable(fault)
    server.on_other(fault, ok)
    with pytest.raises(ApiUnreachable) as caught:
        bind(api)
    assert (caught.value.sent, len(server.requests)) == (True, 1)


def test_a_bind_that_is_never_answered_ends_with_its_timeout(api: KubeApi, server: ApiServer) -> None:
    """And may have been executed."""
    server.on_other(Exchange.hang)
    with pytest.raises(ApiUnreachable) as caught:
        bind(api, timeout_s=0.5)
    assert caught.value.sent is True


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>welcome</html>", b'{"kind":"Status","status":"Fail', b'{"kind":"Status","status":"Failure"}', b"{}"],
)
def test_a_bind_is_done_only_when_a_status_says_success(api: KubeApi, server: ApiServer, body: bytes) -> None:
    """Whatever stands in the way may answer 200 or 201: the pod may be bound, and only a live read can tell."""
    server.on_other(lambda exchange: exchange.answer(201, body), ok)
    with pytest.raises(ApiUnreachable, match="not an API server's answer") as caught:
        bind(api)
    assert caught.value.sent is True
    bind(api)


def test_a_bind_whose_reply_breaks_off_may_have_been_executed(api: KubeApi, server: ApiServer) -> None:
    """A status line alone can be anybody's."""
    server.on_other(lambda exchange: exchange.answer_half(201, {"kind": "Status", "status": "Success"}))
    with pytest.raises(ApiUnreachable, match="broke off") as caught:
        bind(api)
    assert caught.value.sent is True


@pytest.mark.parametrize("body", [b"<html>", {"kind": "Status", "status": "Success"}, {"kind": "Pod", **pod("b", 2)}])
def test_a_patch_is_done_only_when_the_object_is_the_answer(api: KubeApi, server: ApiServer, body: object) -> None:
    """A page, another kind of answer and another object say nothing of it."""
    server.on_other(lambda exchange: exchange.answer(200, body))
    with pytest.raises(ApiUnreachable, match="not an API server's answer"):
        api.patch(pod_path("team", "a"), {"metadata": {}})


@pytest.mark.parametrize("body", [b"<html>", {"kind": "Status", "status": "Failure"}, {"items": []}])
def test_a_create_is_done_only_when_an_object_is_the_answer(api: KubeApi, server: ApiServer, body: object) -> None:
    """Or a Status of success, as for an eviction."""
    server.on_other(lambda exchange: exchange.answer(200, body), ok)
    with pytest.raises(ApiUnreachable, match="not an API server's answer"):
        api.create(events_path("team"), {"reason": "R"})
    api.create(events_path("team"), {"reason": "R"})


def test_an_exchange_that_fails_in_whatever_way_may_have_been_executed(
    api: KubeApi, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what is known never to have left is said not to have been sent."""

    def broken(*_args: object, **_kwargs: object) -> None:
        raise OSError("broken pipe")

    monkeypatch.setattr(urllib3.PoolManager, "urlopen", broken)
    with pytest.raises(ApiUnreachable, match="broken pipe") as caught:
        bind(api)
    assert (caught.value.sent, server.requests) == (True, [])


def test_half_a_list_is_no_list(api: KubeApi, server: ApiServer) -> None:
    """A body shorter than its length is a broken connection."""
    server.on_list(lambda exchange: exchange.answer_half(200, pod_list(1, [pod("a", 1)])))
    with pytest.raises(ApiUnreachable, match="broke off"):
        api.list_page(PODS, 500, "", 5.0)


def test_a_list_that_trickles_ends_with_its_timeout(api: KubeApi, server: ApiServer) -> None:
    """Each byte comes in time and the whole never would."""

    def trickle(exchange: Exchange) -> None:
        exchange.open_stream()
        while not exchange.stopping.wait(0.01):
            exchange.send(b" ")

    server.on_list(trickle)
    with pytest.raises(ApiUnreachable, match="too slowly"):
        api.list_page(PODS, 500, "", 1.0)


def test_64_binds_run_side_by_side_and_keep_their_connections(api: KubeApi, server: ApiServer) -> None:
    """No bind waits for another, and the second burst opens no new connection."""
    together = threading.Barrier(64, timeout=30)

    def meet(exchange: Exchange) -> None:
        together.wait()
        ok(exchange)

    for _ in range(2):
        server.on_other(*[meet] * 64)
        threads = [threading.Thread(target=bind, args=(api, 30.0), daemon=True) for _ in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert (len(server.requests), max(request.connection for request in server.requests)) == (128, 64)


def test_any_path_can_be_read_and_created_in(api: KubeApi, server: ApiServer) -> None:
    """For what has no method of its own: the body comes back untouched, a query in the path stays."""
    server.on_other(
        lambda exchange: exchange.answer(200, b"text"), lambda exchange: exchange.answer(201, {"kind": "Y"})
    )
    path = "/api/v1/namespaces/x/pods/p:9400/proxy/metrics"
    assert api.read(f"{path}?a=b") == b"text"
    assert json.loads(api.create("/apis/x/v1/reviews/y", {"spec": 2})) == {"kind": "Y"}
    read, created = server.requests
    assert (read.method, read.path, read.query) == ("GET", path, {"a": "b"})
    assert (created.method, json.loads(created.body)) == ("POST", {"spec": 2})


def test_a_refused_patch_is_an_api_error(api: KubeApi, server: ApiServer) -> None:
    """Its version was a precondition; a name that is none goes nowhere."""
    server.on_other(refusing(409, "Conflict"))
    with pytest.raises(ApiError) as caught:
        api.patch(node_path("n1"), {"metadata": {"resourceVersion": "6"}})
    assert (caught.value.status, server.requests[0].path) == (409, "/api/v1/nodes/n1")
    with pytest.raises(ValueError, match="expected a Kubernetes object's name"):
        node_path("../pods")
