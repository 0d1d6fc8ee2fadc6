"""A handler sees every object through lists, broken watches and expired versions."""

import json
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from bench.simulated.apiserver.faults import Fault
from bench.simulated.apiserver.server import ApiServer
from bench.simulated.client import ClusterClient
from bench.simulated.waiting import wait_until as until
from device_plugin.kubeapi import NODES, connect
from device_plugin.watching import Watcher


class NamesHandler:
    """The names that exist, as far as it was told."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.lists = 0

    def replace(self, items: Iterable[bytes]) -> None:
        self.lists += 1
        self.names = {json.loads(item)["metadata"]["name"] for item in items}

    def apply(self, kind: str, body: bytes) -> None:
        name = json.loads(body)["metadata"]["name"]
        (self.names.discard if kind == "DELETED" else self.names.add)(name)


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
def watched(server: ApiServer, tmp_path: Path) -> Iterator[tuple[Watcher, NamesHandler]]:
    """A watcher of nodes that runs."""
    api = connect(server.write_kubeconfig(tmp_path / "kubeconfig"))
    handler, stop = NamesHandler(), threading.Event()
    watcher = Watcher(api, NODES, "", handler)
    thread = threading.Thread(target=watcher.run, args=(stop,))
    thread.start()
    yield watcher, handler
    stop.set()
    watcher.abort()
    thread.join(10.0)
    assert not thread.is_alive()
    api.close()


def test_list_then_watch(client: ClusterClient, watched: tuple[Watcher, NamesHandler]) -> None:
    """Added and deleted nodes are seen."""
    watcher, handler = watched
    assert watcher.synced.wait(10.0)
    client.create_node({"metadata": {"name": "a"}})
    client.create_node({"metadata": {"name": "b"}})
    client.delete_node("a")
    until(lambda: handler.names == {"b"})
    assert (handler.lists, watcher.problem) == (1, "")


def test_a_broken_connection_continues_where_it_was(
    server: ApiServer, client: ClusterClient, watched: tuple[Watcher, NamesHandler]
) -> None:
    """No second list, nothing missed, also when an event is cut in two."""
    _, handler = watched
    until(lambda: server.watches() == 1)
    client.create_node({"metadata": {"name": "a"}})
    until(lambda: handler.names == {"a"})
    server.drop_watches(half_line=True)
    client.create_node({"metadata": {"name": "b"}})
    until(lambda: handler.names == {"a", "b"})
    assert handler.lists == 1


def test_an_expired_version_is_listed_again(
    server: ApiServer, client: ClusterClient, watched: tuple[Watcher, NamesHandler]
) -> None:
    """410 Gone: what happened meanwhile comes with the list."""
    _, handler = watched
    until(lambda: server.watches() == 1)
    server.expire_watches()
    client.create_node({"metadata": {"name": "a"}})
    until(lambda: handler.lists == 2 and handler.names == {"a"})


def test_a_failing_list_is_tried_again(server: ApiServer, client: ClusterClient, tmp_path: Path) -> None:
    """And said as the problem meanwhile."""
    client.create_node({"metadata": {"name": "a"}})
    server.inject(Fault(method="GET", path=NODES, status=500))
    api = connect(server.write_kubeconfig(tmp_path / "kubeconfig"))
    handler, stop = NamesHandler(), threading.Event()
    watcher = Watcher(api, NODES, "", handler)
    thread = threading.Thread(target=watcher.run, args=(stop,))
    thread.start()
    until(lambda: "500" in watcher.problem)
    until(lambda: handler.names == {"a"} and not watcher.problem)
    stop.set()
    watcher.abort()
    thread.join(10.0)
    api.close()
    assert not thread.is_alive()


def test_a_problem_lasts_after_a_minute_or_before_the_first_list(
    server: ApiServer, client: ClusterClient, tmp_path: Path
) -> None:
    """A connection that broke is opened again; a right that was taken away is not."""
    client.create_node({"metadata": {"name": "a"}})
    now_s = [0.0]
    api = connect(server.write_kubeconfig(tmp_path / "kubeconfig"))
    handler, stop = NamesHandler(), threading.Event()
    watcher = Watcher(api, NODES, "", handler, clock_s=lambda: now_s[0])
    assert watcher.lasting_problem == "not listed yet"
    thread = threading.Thread(target=watcher.run, args=(stop,))
    thread.start()
    until(lambda: server.watches() == 1)
    assert watcher.lasting_problem == ""
    server.inject(Fault(method="GET", path=NODES, status=403, times=1000))
    server.drop_watches()
    until(lambda: "403" in watcher.problem)
    assert watcher.lasting_problem == ""
    now_s[0] = 60.0
    assert "403" in watcher.lasting_problem
    stop.set()
    watcher.abort()
    thread.join(10.0)
    api.close()
    assert not thread.is_alive()
