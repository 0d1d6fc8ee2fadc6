"""The extender's HTTP surface over a Cluster and a fake API server, for tests of the app and of its server."""

from typing import Any

from prometheus_client import CollectorRegistry

from extender.contract.names import Names
from extender.server.binder import Binder
from extender.server.http.call import Call
from extender.server.http.routes import Health, create_app, probe_calls
from extender.server.http.server import Server, probe_server, scheduler_server
from extender.server.metrics import Metrics, StateCollector
from extender.server.settings import Address, Tls
from extender.server.verbs import Verbs, create_calls
from tests.extender.cluster import Cluster
from tests.extender.objects import Json
from tests.fakes.binding_api import BindingApi

MAX_BODY_BYTES = 64 * 1024


class Served:
    """All that an app answers from; `dead` and `not_ready` are what its health says."""

    def __init__(
        self,
        *nodes: Json,
        pods: tuple[Json, ...] = (),
        names: Names | None = None,
        answers: int = 1,
    ) -> None:
        self.cluster = Cluster(*nodes, names=names, answers=answers)
        self.api = BindingApi(*pods)
        self.dead: str | None = None
        self.not_ready: str | None = None
        self.view_age_s = 0.5
        self.synced = True
        self.writes_failing = False
        self.unreadable = {"node": 0, "pod": 0}
        self.registry = CollectorRegistry()
        self.registry.register(
            StateCollector(
                self.cluster.state,
                view_age_s=lambda: self.view_age_s,
                woken=lambda: 3,
                synced=lambda: self.synced,
                writes_failing=lambda: self.writes_failing,
                unreadable=lambda: self.unreadable,
            )
        )
        state, decoder = self.cluster.state, self.cluster.decoder
        binder = Binder(state, self.api, self.cluster.names, decoder, pause=lambda _s: None)
        self.health = Health(dead=lambda: self.dead, not_ready=lambda: self.not_ready)
        self.calls = create_calls(Verbs(state, binder, decoder), Metrics(self.registry))
        self.probes = probe_calls(self.health, self.registry)
        self.app = create_app(state, self.health.not_ready)

    def call(self, verb: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer to one of kube-scheduler's calls, by a thread."""
        return self.calls[f"/{verb}"].answer(body)

    def server(self, tls: Tls | None = None, *, threads: int = 8, port: int = 0) -> Server:
        """A server for all of it on a free port, not started."""
        calls: dict[str, Call] = {**self.calls, **self.probes}
        return scheduler_server(
            Address("127.0.0.1", port), calls, self.app, threads=threads, max_body_bytes=MAX_BODY_BYTES, tls=tls
        )

    def probe_server(self) -> Server:
        """A server for health and metrics on a free port, not started."""
        return probe_server(Address("127.0.0.1", 0), self.probes)

    def sample(self, name: str, **labels: str) -> Any:
        """The value of one series."""
        return self.registry.get_sample_value(name, labels)
