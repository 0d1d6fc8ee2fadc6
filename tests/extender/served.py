"""The extender's HTTP surface over a Cluster and a fake API server, for tests of the app and of its server."""

from typing import Any

from prometheus_client import CollectorRegistry

from extender.contract.names import Names
from extender.server.binder import Binder
from extender.server.http.routes import Health, Parts
from extender.server.metrics import Metrics, StateCollector
from tests.extender.cluster import Cluster
from tests.extender.objects import Json
from tests.fakes.binding_api import BindingApi, LoopBindingApi

MAX_BODY_BYTES = 64 * 1024


class Served:
    """All that an app answers from; `dead` and `not_ready` are what its health says."""

    def __init__(
        self,
        *nodes: Json,
        pods: tuple[Json, ...] = (),
        names: Names | None = None,
        answers: int = 1,
        in_loop: bool = False,
    ) -> None:
        self.cluster = Cluster(*nodes, names=names, answers=answers)
        self.api = BindingApi(*pods)
        self.loop_api = LoopBindingApi(self.api) if in_loop else None
        self.dead: str | None = None
        self.not_ready: str | None = None
        self.view_age_s = 0.5
        self.synced = True
        self.registry = CollectorRegistry()
        self.registry.register(
            StateCollector(self.cluster.state, lambda: self.view_age_s, lambda: 3, lambda: self.synced)
        )
        state, decoder = self.cluster.state, self.cluster.decoder
        self.parts = Parts(
            state=state,
            binder=Binder(state, self.api, self.cluster.names, decoder, pause=lambda _s: None),
            decoder=decoder,
            metrics=Metrics(self.registry),
            health=Health(dead=lambda: self.dead, not_ready=lambda: self.not_ready),
            max_body_bytes=MAX_BODY_BYTES,
            loop_api=self.loop_api,
        )

    def sample(self, name: str, **labels: str) -> Any:
        """The value of one series."""
        return self.registry.get_sample_value(name, labels)
