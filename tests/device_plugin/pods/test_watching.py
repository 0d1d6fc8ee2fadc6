"""The store keeps working when the API server, or one of its objects, misbehaves."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.simulated.waiting import wait_until as until
from device_plugin.pods.decoding import DecodedPod
from device_plugin.pods.store import PodStore
from device_plugin.service import open_api
from extender.contract.names import Names
from extender.kube.reflector import Reflector
from tests.device_plugin.builders import UNIT_MIB, pod_body
from tests.fakes.api_server import ApiServer, Exchange

PATH = "/api/v1/pods?fieldSelector=spec.nodeName=n1"
NESTED = b'{"managedFields":' * 1500 + b"{}" + b"}" * 1500


class Watched:
    """A store that follows a scripted API server."""

    def __init__(self, server: ApiServer, kubeconfig: Path) -> None:
        self.server = server
        cluster = {"name": "c", "cluster": {"server": server.url}}
        context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
        config = {
            "clusters": [cluster],
            "contexts": [context],
            "users": [{"name": "u", "user": {}}],
            "current-context": "c",
        }
        kubeconfig.write_text(json.dumps(config))
        self.api = open_api(kubeconfig)
        self.store = PodStore(Names(), UNIT_MIB)
        self.reflector: Reflector[DecodedPod] = Reflector(self.api, PATH, self.store)

    def names(self) -> set[str]:
        """Names of the pods that the store has."""
        return {pod.name for pod in self.store.pods().values()}


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """A store whose reflector runs once the test starts it."""
    with ApiServer() as server:
        found = Watched(server, tmp_path / "kubeconfig")
        yield found
        found.reflector.stop(10.0)
        found.api.close()


def good(name: str, version: int = 10) -> bytes:
    """A pod of eight units."""
    return pod_body(name, {"main": {"GPU-a": 8}}, version=version)


def nested(name: str) -> bytes:
    """The same, with fields nested 1,500 deep: 25 kB that any tenant can have stored."""
    return good(name).replace(b'"metadata": {', b'"metadata": {"managedFields": [' + NESTED + b"], ", 1)


def not_utf8(name: str) -> bytes:
    """The same, with one byte that is no UTF-8."""
    return good(name).replace(b'"metadata": {', b'"metadata": {"generateName": "\xff", ', 1)


def page(*items: bytes) -> bytes:
    """A complete list."""
    return b'{"kind":"PodList","metadata":{"resourceVersion":"10"},"items":[' + b",".join(items) + b"]}"


def added(item: bytes) -> bytes:
    """A line of a watch."""
    return b'{"type":"ADDED","object":' + item.replace(b"\n", b"") + b"}\n"


def test_one_unreadable_pod_hides_no_other(watched: Watched) -> None:
    """Neither in a list nor in a watch."""

    def stream(exchange: Exchange) -> None:
        exchange.open_stream()
        for item in (nested("n2"), not_utf8("u2"), good("q", 12)):
            exchange.send(added(item))
        exchange.hang()

    watched.server.on_list(lambda exchange: exchange.answer(200, page(good("p"), nested("n1"), not_utf8("u1"))))
    watched.server.on_watch(stream)
    watched.reflector.start()
    until(lambda: {"p", "q"} <= watched.names())
    assert (watched.reflector.problem, len(watched.server.of("list"))) == ("", 1)


def test_a_server_that_ends_every_watch_at_once_is_not_flooded(watched: Watched) -> None:
    """It was asked a thousand times a second; now no watch follows within 0.8 s."""

    def end(exchange: Exchange) -> None:
        exchange.open_stream()
        exchange.end_stream()

    watched.server.on_list(lambda exchange: exchange.answer(200, page(good("p"))))
    watched.server.on_watch(*[end] * 100)
    watched.reflector.start()
    watched.server.wait_for("watch", 1)
    began_s = time.monotonic()
    watched.server.wait_for("watch", 3)
    assert (time.monotonic() - began_s >= 1.5, watched.names()) == (True, {"p"})
