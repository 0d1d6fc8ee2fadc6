"""Requests to an API server over real HTTP: lists in pages, watches, patches, and every way to fail."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.simulated.apiserver.faults import Fault
from bench.simulated.apiserver.server import ApiServer
from bench.simulated.client import ClusterClient
from device_plugin.kubeapi import NODES, PODS, ApiError, NodeApi, connect, node_path, pod_path
from device_plugin.settings import SettingsError


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """A simulated API server."""
    with ApiServer() as found:
        yield found


@pytest.fixture
def client(server: ApiServer, tmp_path: Path) -> Iterator[ClusterClient]:
    """What the test does to the cluster."""
    found = ClusterClient.from_kubeconfig(server.write_kubeconfig(tmp_path / "client"))
    yield found
    found.close()


@pytest.fixture
def api(server: ApiServer, tmp_path: Path) -> Iterator[NodeApi]:
    """What is under test."""
    found = connect(server.write_kubeconfig(tmp_path / "kubeconfig"))
    yield found
    found.close()


def names(items: tuple[bytes, ...]) -> list[str]:
    """Names of the objects."""
    return [json.loads(item)["metadata"]["name"] for item in items]


def test_a_list_follows_the_pages_and_the_selector(api: NodeApi, client: ClusterClient) -> None:
    """600 pods are two pages; only those of the node come."""
    for number in range(3):
        client.create_node({"metadata": {"name": f"n{number}"}})
    for number in range(600):
        spec = {"nodeName": "n1" if number < 550 else "n2", "containers": [{"name": "main", "image": "x"}]}
        client.create_pod({"metadata": {"name": f"p{number:03d}"}, "spec": spec})
    page = api.list(PODS, "spec.nodeName=n1", 30.0)
    assert (sorted(names(page.items)), page.more) == ([f"p{number:03d}" for number in range(550)], "")


def test_a_watch_brings_what_happens_after_the_list(api: NodeApi, client: ClusterClient) -> None:
    """And ends when it is aborted from another thread."""
    client.create_node({"metadata": {"name": "n1"}})
    page = api.list(NODES, "metadata.name=n1", 10.0)
    watch = api.watch(NODES, "metadata.name=n1", page.version, 60.0)
    client.patch_node("n1", {"metadata": {"annotations": {"a": "b"}}})
    events = iter(watch)
    event = next(events)
    assert (event.kind, json.loads(event.body)["metadata"]["annotations"]) == ("MODIFIED", {"a": "b"})
    reader = threading.Thread(target=lambda: list(events))
    reader.start()
    watch.abort()
    reader.join(10.0)
    assert not reader.is_alive()


def test_an_expired_watch_says_so(api: NodeApi, server: ApiServer, client: ClusterClient) -> None:
    """410 as an ERROR event."""
    client.create_node({"metadata": {"name": "n1"}})
    watch = api.watch(NODES, "metadata.name=n1", api.list(NODES, "", 10.0).version, 60.0)
    server.expire_watches()
    with pytest.raises(ApiError) as caught:
        list(watch)
    assert caught.value.is_expired


def test_a_patch_returns_the_object(api: NodeApi, client: ClusterClient) -> None:
    """With its new version."""
    client.create_node({"metadata": {"name": "n1"}})
    answer = json.loads(api.patch(node_path("n1"), {"metadata": {"annotations": {"a": "b"}}}, 10.0))
    assert answer["metadata"]["annotations"] == {"a": "b"}


def test_a_patch_of_another_pod_under_that_name_is_refused(api: NodeApi, client: ClusterClient) -> None:
    """The UID is a precondition; so is being there."""
    client.create_pod({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "main", "image": "x"}]}})
    gone = []
    for name, uid in (("p", "another"), ("q", "any")):
        with pytest.raises(ApiError) as caught:
            api.patch(pod_path("default", name), {"metadata": {"uid": uid, "annotations": {"a": "b"}}}, 10.0)
        gone.append(caught.value.is_gone)
    pod = client.pod("p")
    assert (gone, pod is not None and pod["metadata"].get("annotations", {})) == ([True, True], {})


@pytest.mark.parametrize("fault", [Fault(path="/nodes", status=503), Fault(path="/nodes", lose_reply=True)])
def test_failures_are_errors_of_one_kind(api: NodeApi, server: ApiServer, fault: Fault) -> None:
    """A status and a connection that breaks."""
    server.inject(fault)
    with pytest.raises(ApiError, match="GET /api/v1/nodes"):
        api.list(NODES, "", 10.0)


def test_a_server_that_does_not_answer_costs_the_timeout(api: NodeApi, server: ApiServer) -> None:
    """Not more."""
    server.pause()
    with pytest.raises(ApiError, match="timed out"):
        api.list(NODES, "", 0.3)
    server.resume()


def test_a_server_that_is_away_is_an_error(api: NodeApi, server: ApiServer) -> None:
    """Refused connections have no status."""
    server.stop()
    with pytest.raises(ApiError) as caught:
        api.list(NODES, "", 1.0)
    assert caught.value.status == 0


def test_a_kubeconfig_that_cannot_be_used_is_a_setting_that_cannot_work(tmp_path: Path) -> None:
    """Missing, or nonsense."""
    (tmp_path / "bad").write_text("kind: Config\n")
    for name in ("none", "bad"):
        with pytest.raises(SettingsError, match=f"kubeconfig .*{name}"):
            connect(tmp_path / name)


def test_outside_a_cluster_a_kubeconfig_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before anything starts."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(SettingsError, match="in-cluster service account"):
        connect(None)
