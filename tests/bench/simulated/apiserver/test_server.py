"""The simulated API server answers the official Kubernetes client as a real one does."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from kubernetes import client, config, watch

from bench.simulated.apiserver.faults import Fault
from bench.simulated.apiserver.server import ApiServer
from bench.simulated.waiting import wait_until

_HTTP = urllib3.PoolManager(retries=False, timeout=30)


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """A fresh server with quick bookmarks."""
    with ApiServer(bookmark_interval_s=0.1) as running:
        yield running
    _HTTP.clear()


@pytest.fixture
def core(server: ApiServer, tmp_path: Path) -> Iterator[Any]:
    """The official client, configured through the kubeconfig that the server writes."""
    path = server.write_kubeconfig(tmp_path / "kubeconfig")
    kubernetes_config: Any = config
    with kubernetes_config.new_client_from_config(str(path)) as api:
        yield client.CoreV1Api(api)


def _pod(name: str, *, memory: str = "8", **spec: Any) -> dict[str, Any]:
    resources = {"limits": {"gpupack.io/gpu-mem": memory}, "requests": {"cpu": "100m"}}
    return {
        "metadata": {"name": name, "labels": {"app": "test"}},
        "spec": {"containers": [{"name": "main", "image": "none", "resources": resources}], **spec},
    }


def _binding(name: str, node: str, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **metadata}, "target": {"kind": "Node", "name": node}}


def _call(server: ApiServer, method: str, path: str, body: object = None, kind: str = "") -> tuple[int, Any]:
    headers = {"Content-Type": kind or "application/json"} if body is not None else {}
    data = None if body is None else json.dumps(body).encode()
    reply = _HTTP.request(method, f"{server.url}{path}", body=data, headers=headers)
    return reply.status, json.loads(reply.data)


def _reason(error: Any) -> Any:
    return json.loads(error.body)["reason"]


def _bind(server: ApiServer, name: str, node: str, **metadata: Any) -> tuple[int, Any]:
    path = f"/api/v1/namespaces/default/pods/{name}/binding"
    return _call(server, "POST", path, _binding(name, node, **metadata))


def test_a_created_pod_gets_what_kubernetes_fills_in(core: Any) -> None:
    """Identity, defaults, and requests that follow limits."""
    pod = core.create_namespaced_pod("default", _pod("a"))
    assert pod.metadata.uid
    assert pod.metadata.creation_timestamp is not None
    assert pod.spec.scheduler_name == "default-scheduler"
    assert pod.spec.priority == 0
    assert pod.spec.containers[0].resources.requests == {"cpu": "100m", "gpupack.io/gpu-mem": "8"}
    assert (pod.status.phase, pod.status.qos_class) == ("Pending", "Burstable")


def test_generated_names_are_unique(core: Any) -> None:
    """What asks for a generated name gets a random suffix."""
    body = _pod("")
    body["metadata"] = {"generateName": "job-"}
    names = {core.create_namespaced_pod("default", body).metadata.name for _ in range(20)}
    assert len(names) == 20
    assert all(name.startswith("job-") for name in names)


def test_priority_comes_from_the_class(server: ApiServer, core: Any) -> None:
    """A class that exists gives its number; one that does not is refused."""
    _call(server, "POST", "/apis/scheduling.k8s.io/v1/priorityclasses", {"metadata": {"name": "high"}, "value": 1000})
    pod = core.create_namespaced_pod("default", _pod("a", priorityClassName="high"))
    assert pod.spec.priority == 1000
    code, _ = _call(server, "POST", "/api/v1/namespaces/default/pods", _pod("b", priorityClassName="none"))
    assert code == 403


def test_a_second_pod_of_the_name_is_refused(core: Any) -> None:
    """409 AlreadyExists."""
    core.create_namespaced_pod("default", _pod("a"))
    with pytest.raises(client.ApiException) as caught:
        core.create_namespaced_pod("default", _pod("a"))
    assert (caught.value.status, _reason(caught.value)) == (409, "AlreadyExists")


@pytest.mark.parametrize(
    "resources",
    [
        {"limits": {"gpupack.io/gpu-mem": "500m"}},
        {"limits": {"gpupack.io/gpu-mem": "8"}, "requests": {"gpupack.io/gpu-mem": "4"}},
        {"requests": {"gpupack.io/gpu-mem": "4"}},
        {"limits": {"gpupack.io/gpu-mem": "-1"}},
        {"limits": {"gpupack.io/gpu-mem": "many"}},
        {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}},
    ],
)
def test_resources_that_kubernetes_refuses_are_invalid(server: ApiServer, resources: dict[str, Any]) -> None:
    """Extended resources are whole numbers with limits equal to requests."""
    body = _pod("a")
    body["spec"]["containers"][0]["resources"] = resources
    code, status = _call(server, "POST", "/api/v1/namespaces/default/pods", body)
    assert (code, status["reason"]) == (422, "Invalid")


def test_what_is_not_there_is_not_found(core: Any) -> None:
    """404 with a Status, for objects and for paths."""
    reads: list[tuple[Any, tuple[str, ...]]] = [(core.read_namespaced_pod, ("a", "default")), (core.read_node, ("n",))]
    for read, arguments in reads:
        with pytest.raises(client.ApiException) as caught:
            read(*arguments)
        assert (caught.value.status, _reason(caught.value)) == (404, "NotFound")


def test_lists_come_in_pages_of_one_snapshot(server: ApiServer, core: Any) -> None:
    """A pod created between two pages is not in the second; the revision stays."""
    for number in range(5):
        core.create_namespaced_pod("default", _pod(f"p{number}"))
    first = core.list_pod_for_all_namespaces(limit=2)
    core.create_namespaced_pod("default", _pod("p9"))
    second = core.list_pod_for_all_namespaces(limit=2, _continue=first.metadata._continue)
    third = core.list_pod_for_all_namespaces(limit=2, _continue=second.metadata._continue)
    names = [pod.metadata.name for page in (first, second, third) for pod in page.items]
    assert names == ["p0", "p1", "p2", "p3", "p4"]
    assert first.metadata.remaining_item_count == 3
    assert len({page.metadata.resource_version for page in (first, second, third)}) == 1
    server.compact()
    code, status = _call(server, "GET", f"/api/v1/pods?limit=2&continue={first.metadata._continue}")
    assert (code, status["reason"]) == (410, "Expired")


def test_lists_are_selected_by_field_and_label(server: ApiServer, core: Any) -> None:
    """The selectors that schedulers and kubelets use."""
    core.create_namespaced_pod("default", _pod("a"))
    core.create_namespaced_pod("other", _pod("b"))
    _bind(server, "a", "n1")
    assert [pod.metadata.name for pod in core.list_pod_for_all_namespaces(field_selector="spec.nodeName=n1").items] == [
        "a"
    ]
    assert [pod.metadata.name for pod in core.list_pod_for_all_namespaces(field_selector="spec.nodeName=").items] == [
        "b"
    ]
    assert len(core.list_pod_for_all_namespaces(label_selector="app=test").items) == 2
    assert [pod.metadata.name for pod in core.list_namespaced_pod("other").items] == ["b"]


def test_a_list_from_the_future_times_out(server: ApiServer) -> None:
    """504, as with a real server that has not caught up."""
    code, _ = _call(server, "GET", "/api/v1/pods?resourceVersion=99999&resourceVersionMatch=NotOlderThan")
    assert code == 504


def test_a_watch_replays_and_follows(server: ApiServer, core: Any) -> None:
    """Events since the list's revision come in order, then live ones, then the timeout ends it."""
    listed = core.list_pod_for_all_namespaces()
    core.create_namespaced_pod("default", _pod("a"))
    seen = []
    kubernetes_watch: Any = watch
    stream = kubernetes_watch.Watch().stream(
        core.list_pod_for_all_namespaces, resource_version=listed.metadata.resource_version, timeout_seconds=3
    )
    for event in stream:
        seen.append((event["type"], event["object"].metadata.name, event["object"].spec.node_name))
        if event["type"] == "ADDED":
            _bind(server, "a", "n1")
            core.delete_namespaced_pod("a", "default", grace_period_seconds=0)
    assert seen == [("ADDED", "a", None), ("MODIFIED", "a", "n1"), ("MODIFIED", "a", "n1"), ("DELETED", "a", "n1")]


def _lines(server: ApiServer, path: str, count: int) -> list[Any]:
    reply = _HTTP.request("GET", f"{server.url}{path}", preload_content=False)
    lines: list[Any] = []
    rest = b""
    for data in reply.stream(65536):
        *whole, rest = (rest + data).split(b"\n")
        lines += [json.loads(line) for line in whole]
        if len(lines) >= count:
            break
    reply.close()
    return lines


def test_a_selected_watch_sees_pods_come_and_go(server: ApiServer, core: Any) -> None:
    """A pod that enters the selector is ADDED, one that leaves it DELETED under the new revision."""
    core.create_namespaced_pod("default", _pod("a"))
    start = core.list_pod_for_all_namespaces().metadata.resource_version
    _bind(server, "a", "n1")
    entering = f"/api/v1/pods?watch=true&resourceVersion={start}&fieldSelector=spec.nodeName%3Dn1"
    leaving = f"/api/v1/pods?watch=true&resourceVersion={start}&fieldSelector=spec.nodeName%3D"
    (added,) = _lines(server, entering, 1)
    (deleted,) = _lines(server, leaving, 1)
    assert (added["type"], added["object"]["spec"]["nodeName"]) == ("ADDED", "n1")
    assert (deleted["type"], "nodeName" in deleted["object"]["spec"]) == ("DELETED", False)
    assert deleted["object"]["metadata"]["resourceVersion"] == added["object"]["metadata"]["resourceVersion"]


def test_bookmarks_carry_the_newest_revision(server: ApiServer, core: Any) -> None:
    """Only watches that asked for them get them, and they move with writes to other resources."""
    core.create_namespaced_pod("default", _pod("a"))
    newest = core.list_node().metadata.resource_version
    path = f"/api/v1/nodes?watch=true&allowWatchBookmarks=true&resourceVersion={newest}"
    (bookmark,) = _lines(server, path, 1)
    assert (bookmark["type"], bookmark["object"]["metadata"]["resourceVersion"]) == ("BOOKMARK", newest)


def test_a_watch_without_revision_begins_with_what_is_there(server: ApiServer, core: Any) -> None:
    """Every present object comes as ADDED."""
    core.create_node({"metadata": {"name": "n1"}})
    core.create_node({"metadata": {"name": "n2"}})
    lines = _lines(server, "/api/v1/nodes?watch=true", 2)
    assert [(line["type"], line["object"]["kind"], line["object"]["metadata"]["name"]) for line in lines] == [
        ("ADDED", "Node", "n1"),
        ("ADDED", "Node", "n2"),
    ]


def test_a_forgotten_revision_is_gone_as_an_event(server: ApiServer, core: Any) -> None:
    """The usual form: HTTP 200 and an ERROR event of code 410."""
    core.create_node({"metadata": {"name": "n1"}})
    server.compact()
    (error,) = _lines(server, "/api/v1/nodes?watch=true&resourceVersion=1", 1)
    assert (error["type"], error["object"]["code"], error["object"]["reason"]) == ("ERROR", 410, "Expired")


def test_a_binding_is_one_write_with_annotations(server: ApiServer, core: Any) -> None:
    """Node, annotations, labels and the condition come together."""
    pod = core.create_namespaced_pod("default", _pod("a"))
    code, status = _bind(server, "a", "n1", uid=pod.metadata.uid, annotations={"x": "y"}, labels={"l": "m"})
    assert (code, status["status"]) == (201, "Success")
    bound = core.read_namespaced_pod("a", "default")
    assert bound.spec.node_name == "n1"
    assert bound.metadata.annotations == {"x": "y"}
    assert bound.metadata.labels == {"app": "test", "l": "m"}
    assert [(entry.type, entry.status) for entry in bound.status.conditions] == [("PodScheduled", "True")]


def test_bindings_that_must_fail_conflict(server: ApiServer, core: Any) -> None:
    """Wrong UID, wrong revision, bound already (same node too), gated: 409; no such pod: 404."""
    core.create_namespaced_pod("default", _pod("a"))
    core.create_namespaced_pod("default", _pod("gated", schedulingGates=[{"name": "wait"}]))
    assert _bind(server, "a", "n1", uid="other")[0] == 409
    code, status = _bind(server, "a", "n1", resourceVersion="1")
    assert (code, "Precondition failed: ResourceVersion in precondition: 1" in status["message"]) == (409, True)
    assert _bind(server, "gated", "n1")[0] == 409
    assert _bind(server, "a", "n1")[0] == 201
    code, status = _bind(server, "a", "n1")
    assert (code, status["message"]) == (
        409,
        'Operation cannot be fulfilled on pods/binding "a": pod a is already assigned to node "n1"',
    )
    assert _bind(server, "none", "n1")[0] == 404


def test_patches_of_metadata_and_status_stay_apart(server: ApiServer, core: Any) -> None:
    """The main resource ignores status, the status subresource ignores spec, and a wrong UID is invalid."""
    core.create_namespaced_pod("default", _pod("a"))
    path = "/api/v1/namespaces/default/pods/a"
    merge = "application/merge-patch+json"
    patch = {"metadata": {"annotations": {"k": "v"}}, "status": {"phase": "Running"}}
    assert _call(server, "PATCH", path, patch, merge)[1]["status"]["phase"] == "Pending"
    patched = _call(server, "PATCH", f"{path}/status", {"status": {"phase": "Running"}}, merge)[1]
    assert (patched["status"]["phase"], patched["metadata"]["annotations"]) == ("Running", {"k": "v"})
    code, status = _call(server, "PATCH", path, {"metadata": {"uid": "other"}}, merge)
    assert (code, status["reason"]) == (422, "Invalid")
    assert _call(server, "PATCH", path, {"spec": {"nodeName": "n1"}}, merge)[0] == 422


def test_a_write_that_changes_nothing_makes_no_event(core: Any) -> None:
    """The revision stays."""
    pod = core.create_namespaced_pod("default", _pod("a"))
    again = core.patch_namespaced_pod("a", "default", {"metadata": {"labels": {"app": "test"}}})
    assert again.metadata.resource_version == pod.metadata.resource_version


def test_a_put_with_an_old_revision_conflicts(core: Any) -> None:
    """Optimistic concurrency; the object stays as it is."""
    core.create_node({"metadata": {"name": "n1"}})
    node = core.read_node("n1")
    core.patch_node("n1", {"metadata": {"labels": {"a": "1"}}})
    node.metadata.labels = {"b": "2"}
    with pytest.raises(client.ApiException) as caught:
        core.replace_node("n1", node)
    assert (caught.value.status, core.read_node("n1").metadata.labels) == (409, {"a": "1"})


def test_deletion_waits_for_the_kubelet_of_a_bound_pod(server: ApiServer, core: Any) -> None:
    """Unbound pods go at once; bound ones are marked, and stay until grace 0."""
    core.create_namespaced_pod("default", _pod("free"))
    core.create_namespaced_pod("default", _pod("bound"))
    _bind(server, "bound", "n1")
    core.delete_namespaced_pod("free", "default")
    marked = core.delete_namespaced_pod("bound", "default", grace_period_seconds=7)
    assert marked.metadata.deletion_grace_period_seconds == 7
    assert marked.metadata.deletion_timestamp is not None
    assert [pod.metadata.name for pod in core.list_pod_for_all_namespaces().items] == ["bound"]
    code, _ = _call(server, "DELETE", "/api/v1/namespaces/default/pods/bound", {"preconditions": {"uid": "other"}})
    assert code == 409
    core.delete_namespaced_pod("bound", "default", grace_period_seconds=0)
    assert core.list_pod_for_all_namespaces().items == []


def test_new_nodes_are_tainted_until_somebody_removes_it(core: Any) -> None:
    """As the admission plugin does; allocatable defaults to capacity."""
    body = {"metadata": {"name": "n1"}, "status": {"capacity": {"cpu": "4"}}}
    node = core.create_node(body)
    assert [taint.key for taint in node.spec.taints] == ["node.kubernetes.io/not-ready"]
    assert node.status.allocatable == {"cpu": "4"}
    assert core.patch_node("n1", {"spec": {"taints": None}}).spec.taints is None


def test_a_refused_request_was_not_carried_out(server: ApiServer, core: Any) -> None:
    """A fault with a status answers it and does nothing, as often as ordered."""
    core.create_namespaced_pod("default", _pod("a"))
    server.inject(Fault(method="POST", path="/binding", status=503))
    assert [_bind(server, "a", "n1")[0], _bind(server, "a", "n1")[0]] == [503, 201]


def test_a_proxys_page_can_be_ordered(server: ApiServer) -> None:
    """Any code and body, also for a request that is carried out all the same."""
    server.inject(Fault(path="/nodes", status=404, body=b"<html>default backend</html>"))
    server.inject(Fault(path="/nodes", status=200, body=b"<html>welcome</html>", carried_out=True))
    replies = [
        _HTTP.request("POST", f"{server.url}/api/v1/nodes", body=json.dumps({"metadata": {"name": name}}))
        for name in ("n1", "n2")
    ]
    assert [(each.status, each.data) for each in replies] == [
        (404, b"<html>default backend</html>"),
        (200, b"<html>welcome</html>"),
    ]
    assert [each["metadata"]["name"] for each in _call(server, "GET", "/api/v1/nodes")[1]["items"]] == ["n2"]
    server.heal()


def test_an_answer_can_break_off(server: ApiServer, core: Any) -> None:
    """The request was carried out."""
    core.create_namespaced_pod("default", _pod("a"))
    server.inject(Fault(method="POST", path="/binding", cut=True))
    with pytest.raises(urllib3.exceptions.HTTPError):
        _bind(server, "a", "n1")
    assert core.read_namespaced_pod("a", "default").spec.node_name == "n1"


def test_a_request_can_be_carried_out_long_after_its_client_has_left(server: ApiServer, core: Any) -> None:
    """As by an API server that was paused."""
    core.create_namespaced_pod("default", _pod("a"))
    server.inject(Fault(method="POST", path="/binding", late_s=0.5))
    path = f"{server.url}/api/v1/namespaces/default/pods/a/binding"
    with pytest.raises(urllib3.exceptions.TimeoutError):
        _HTTP.request("POST", path, body=json.dumps(_binding("a", "n1")), timeout=0.1)
    assert core.read_namespaced_pod("a", "default").spec.node_name is None
    wait_until(lambda: core.read_namespaced_pod("a", "default").spec.node_name)


def test_faults_end_when_they_are_healed(server: ApiServer) -> None:
    """However often they were ordered."""
    server.inject(Fault(status=503, times=1000))
    assert _call(server, "GET", "/version")[0] == 503
    server.heal()
    assert _call(server, "GET", "/version")[0] == 200


@pytest.mark.parametrize("bump", [0, 1000])
def test_a_restored_server_goes_on_from_its_backup(server: ApiServer, core: Any, bump: int) -> None:
    """Objects have the revisions that they had; the next one follows the backup's, or that and the bump."""
    core.create_node({"metadata": {"name": "kept"}})
    backup = server.backup()
    before = int(core.list_node().metadata.resource_version)
    core.delete_node("kept")
    core.create_node({"metadata": {"name": "lost"}})
    newest = core.list_node().metadata.resource_version
    server.restore(backup, bump=bump)
    listed = core.list_node()
    assert ([each.metadata.name for each in listed.items], listed.metadata.resource_version) == (
        ["kept"],
        str(before + bump),
    )
    assert listed.items[0].metadata.resource_version == str(before)
    path = f"/api/v1/nodes?watch=true&resourceVersion={newest}&timeoutSeconds=1"
    core.create_node({"metadata": {"name": "new"}})
    assert [line["type"] for line in _lines(server, path, 1)] == (["ERROR"] if bump else [])


def test_a_paused_server_answers_after_resume(server: ApiServer) -> None:
    """Requests that came meanwhile are not lost."""
    server.pause()
    with pytest.raises(urllib3.exceptions.TimeoutError):
        _HTTP.request("GET", f"{server.url}/version", timeout=0.2)
    server.resume()
    assert _call(server, "GET", "/version")[1]["major"] == "1"


def test_what_is_no_request_is_refused(server: ApiServer) -> None:
    """Broken JSON and unknown paths and methods get a Status, and the server goes on."""
    reply = _HTTP.request("POST", f"{server.url}/api/v1/namespaces/default/pods", body=b"{")
    assert (reply.status, json.loads(reply.data)["reason"]) == (400, "BadRequest")
    assert _call(server, "GET", "/api/v1/secrets")[0] == 404
    assert _call(server, "PUT", "/api/v1/pods", {})[0] == 405
    assert _call(server, "POST", "/api/v1/nodes", [])[0] == 400
    assert _call(server, "GET", "/apis")[1]["kind"] == "APIGroupList"
    assert _HTTP.request("GET", f"{server.url}/readyz").data == b"ok"
