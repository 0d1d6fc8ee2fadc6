"""A whole extender in this process, before a simulated API server whose faults a test orders."""

import http.client
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import urllib3

from bench.simulated.apiserver.server import ApiServer
from bench.simulated.waiting import wait_until
from extender.kube.client import connect
from extender.server.service import Service
from extender.server.settings import Settings, parse_address
from tests.extender.objects import Json, bind_call, filter_call, node, pod

ONCE_S = 40.0
SETTINGS = Settings(listen=parse_address("127.0.0.1:0", setting="listen"))


class Api:
    """Creates, reads and deletes objects as users do."""

    def __init__(self, server: ApiServer, kubeconfig: str) -> None:
        self.server = server
        self.kubeconfig = kubeconfig
        self.http = urllib3.PoolManager(retries=False, timeout=ONCE_S)

    def call(self, method: str, path: str, body: Json | None = None) -> Json:
        """One request that must succeed."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        data = None if body is None else json.dumps(body).encode()
        answer = self.http.request(method, f"{self.server.url}{path}", body=data, headers={"Content-Type": kind})
        assert answer.status < 300, answer.data
        decoded: Json = json.loads(answer.data)
        return decoded

    def create_node(self, body: Json) -> None:
        """With its status."""
        created = {"metadata": {key: body["metadata"][key] for key in ("name", "annotations")}}
        self.call("POST", "/api/v1/nodes", created)
        path = f"/api/v1/nodes/{body['metadata']['name']}/status"
        status = {
            key: {k: str(v) for k, v in body["status"]["allocatable"].items()} for key in ("allocatable", "capacity")
        }
        self.call("PATCH", path, {"status": status})

    def create_pod(self, name: str, units: int) -> Json:
        """As the API server shows it then."""
        body = pod(name, str(units))
        del body["metadata"]["uid"], body["metadata"]["resourceVersion"], body["status"]
        return self.call("POST", "/api/v1/namespaces/default/pods", body)

    def pod(self, name: str) -> Json:
        """The pod now."""
        return self.call("GET", f"/api/v1/namespaces/default/pods/{name}")

    def delete_pod(self, name: str) -> None:
        """At once."""
        self.call("DELETE", f"/api/v1/namespaces/default/pods/{name}?gracePeriodSeconds=0")


class Extender:
    """Kube-scheduler's side of an extender that listens on a port."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """One request."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=ONCE_S)) as connection:
            connection.request("GET" if body is None else "POST", path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def ready(self) -> bool:
        """Whether it says so."""
        return self.ask("/readyz")[0] == 200

    def metrics(self) -> str:
        """What Prometheus would read."""
        return self.ask("/metrics")[1].decode()

    def filter(self, body: Json, name: str = "a") -> Json:
        """The answer for one node."""
        decoded: Json = json.loads(self.ask("/filter", filter_call(body, [name]))[1])
        return decoded

    def bind(self, body: Json, name: str = "a") -> str:
        """The answer's error."""
        metadata = body["metadata"]
        error: str = json.loads(self.ask("/bind", bind_call(metadata["name"], name, uid=metadata["uid"]))[1])["Error"]
        return error


@contextmanager
def serving(cluster: Api, settings: Settings) -> Iterator[Extender]:
    """Ready."""
    service = Service(settings, connect(cluster.kubeconfig))
    service.start()
    try:
        running = Extender(service.port)
        wait_until(running.ready)
        yield running
    finally:
        service.stop()


@contextmanager
def simulated(directory: Path) -> Iterator[Api]:
    """An API server with one node of one GPU, and bookmarks often enough for a view that is stale after two seconds.

    It is reached directly, whatever proxy this machine uses.
    """
    with pytest.MonkeyPatch.context() as environment, ApiServer(bookmark_interval_s=0.2) as server:
        environment.setenv("NO_PROXY", "127.0.0.1")
        environment.setenv("no_proxy", "127.0.0.1")
        made = Api(server, str(server.write_kubeconfig(directory / "kubeconfig")))
        made.create_node(node("a", 16))
        yield made
        made.http.clear()


def events_of(cluster: Api, name: str) -> list[tuple[str, str]]:
    """Type and reason of the Events on a pod."""
    events = cluster.call("GET", "/api/v1/namespaces/default/events")["items"]
    return sorted((event["type"], event["reason"]) for event in events if event["involvedObject"]["name"] == name)


def gpu_of(extender: Extender) -> Json:
    """The one GPU, as `/v1/nodes` shows it."""
    ((gpu,),) = [each["gpus"] for each in json.loads(extender.ask("/v1/nodes")[1])["nodes"]]
    found: Json = gpu
    return found
