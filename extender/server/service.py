"""Creates the parts of the extender from its settings, starts them and stops them."""

import gc
import logging
import socket
import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from extender.contract.refusals import NotReady
from extender.contract.units import GpuUuid
from extender.decoding.decoder import Decoder
from extender.kube.client import KubeApi
from extender.kube.events import EventRecorder
from extender.kube.reflector import Reflector, ReflectorSettings
from extender.kube.retries import Backoff
from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.nodes.charging import charged_gpus
from extender.server.binder import Binder
from extender.server.http.routes import Health, create_app, probe_calls
from extender.server.http.server import (
    PROBE_LIMITS,
    SCHEDULER_LIMITS,
    fitted,
    probe_server,
    raise_open_files,
    scheduler_server,
)
from extender.server.learning import Learning
from extender.server.metrics import LearningCollector, Metrics, RecordCollector, StateCollector
from extender.server.record.bypasses import Bypasses
from extender.server.record.decisions import Decisions
from extender.server.record.recorder import Recorder
from extender.server.record.sentences import news_of_failure
from extender.server.settings import Settings
from extender.server.state.feed import BudgetSink, NodeSink, PodSink
from extender.server.state.state import State
from extender.server.upkeep import Upkeep
from extender.server.verbs import Verbs, create_calls

_LOG = logging.getLogger(__name__)
NODES_PATH = "/api/v1/nodes"
PODS_PATH = "/api/v1/pods"
BUDGETS_PATH = "/apis/policy/v1/poddisruptionbudgets"
FOLLOWING = ReflectorSettings(watch_tries=1, max_retry_after_s=10.0, backoff=Backoff(last_s=8.0))
"""A list after each outage: few extenders make them, and a view of a history that is no more would overbook. For the
same reason they look again soon: what ends while nobody looks stays charged, and pods that would fit wait."""

STOP_TIMEOUT_S = 5.0
GC_THRESHOLDS = (2_000, 5, 1_000)
"""Young objects at which the collector looks at them, and so on. By default every second call would wait for it; with
these one in seven does, for as long as before, and the old objects are hardly ever walked."""


class Service:
    """One extender; `start` returns once it listens, long before the first lists are in."""

    def __init__(self, settings: Settings, api: KubeApi) -> None:
        self._settings = settings
        self._api = api
        self._draining = threading.Event()
        self._stopped = threading.Event()
        self._events = EventRecorder(
            api,
            component="gpupack-extender",
            host=socket.gethostname(),
            now=lambda: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            clock=time.monotonic,
            per_s=settings.events_per_s,
        )
        self._recorder = Recorder(settings.unit_mib, self._events.put)
        decisions = Decisions(lambda: datetime.now(UTC), report=self._recorder.record)
        decoder = Decoder(settings.names, settings.unit_mib, warn=_LOG.warning)
        self.state = State(
            unit_mib=settings.unit_mib,
            policy=settings.policy,
            answers=settings.answers,
            keep=settings.keep,
            hold_s=settings.hold_s,
            clock=time.monotonic,
            view_problem=self._view_problem,
            decisions=decisions,
            report_failure=lambda failure: self._events.put(news_of_failure(failure)),
            schedulers=settings.scheduler_names,
        )
        self._learning = Learning(self.state)
        self._bypasses = Bypasses(lambda: self.state.schedulers, self._charged, self._events.put)
        self._reflectors = (
            Reflector(api, NODES_PATH, NodeSink(self.state, decoder), settings=FOLLOWING),
            Reflector(api, PODS_PATH, PodSink(self.state, decoder, self._observe), settings=FOLLOWING),
        )
        # Nothing waits for these: without the right to read them, preemption counts as kube-scheduler does.
        self._budgets = Reflector(api, BUDGETS_PATH, BudgetSink(self.state))
        binder = Binder(self.state, api, settings.names, decoder)
        self._upkeep = Upkeep(self.state, binder, api, settings.names.retry_annotation, time.monotonic)
        registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        registry.register(
            StateCollector(
                self.state,
                view_age_s=self._view_age_s,
                woken=lambda: self._upkeep.woken,
                synced=self._synced,
                writes_failing=lambda: bool(api.writes.problem),
                unreadable=self._unreadable,
            )
        )
        registry.register(LearningCollector(lambda: self._learning.considered))
        registry.register(RecordCollector(self._events.counts, lambda: self._recorder.dropped))
        health = Health(dead=self._dead, not_ready=self._not_ready)
        probes = probe_calls(health, registry)
        verbs = create_calls(Verbs(self.state, binder, decoder), Metrics(registry))
        files = raise_open_files()
        self._servers = [
            scheduler_server(
                settings.listen,
                {**verbs, **probes},
                create_app(self.state, self._view_problem),
                threads=settings.threads,
                max_body_bytes=settings.max_body_bytes,
                tls=settings.tls,
                allowed_hosts=settings.allowed_hosts,
                limits=fitted(SCHEDULER_LIMITS, files, 4),
            )
        ]
        if settings.observe is not None:
            self._servers.append(probe_server(settings.observe, probes, fitted(PROBE_LIMITS, files, 8)))

    @property
    def port(self) -> int:
        """Port that kube-scheduler is to call."""
        return self._servers[0].port

    def start(self) -> None:
        """Begin to listen and to watch.

        Raises:
            OSError: an address cannot be listened on.
        """
        self._events.start()
        self._recorder.start()
        for server in self._servers:
            server.start()
        for reflector in (*self._reflectors, self._budgets):
            reflector.start()
        threading.Thread(target=self._after_sync, name="after-sync", daemon=True).start()
        _LOG.info("listening on %s port %d", self._settings.listen.host, self.port)

    def _after_sync(self) -> None:
        while not self._stopped.is_set():
            if all(reflector.wait_synced(1.0) for reflector in self._reflectors):
                break
        if self._stopped.is_set():
            return
        self.state.adopt_holds()
        self._learning.round(force=True)
        self._learning.start()
        self.state.adopt_waiting()
        self._upkeep.start()
        # What the first lists made lives as long as the process: the collector need not walk it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        _LOG.info("ready: %s", self.state.counts())

    def stop(self) -> None:
        """Turn not ready, answer what runs, end."""
        self._draining.set()
        for server in self._servers:
            server.stop()
        self._stopped.set()
        self._upkeep.stop(STOP_TIMEOUT_S)
        self._learning.stop(STOP_TIMEOUT_S)
        for reflector in (*self._reflectors, self._budgets):
            reflector.stop(STOP_TIMEOUT_S)
        self._recorder.stop(STOP_TIMEOUT_S)
        self._events.stop(STOP_TIMEOUT_S)
        _LOG.info("stopped")

    def _observe(self, pods: Iterable[PodRecord]) -> None:
        self._learning.observe(pods)
        self.state.decisions.seen(pods)
        self._bypasses.seen(pods)

    def _charged(self, pod: PodRecord) -> tuple[GpuUuid, ...]:
        node = self.state.snapshot().nodes.get(pod.node)
        return charged_gpus(node, pod.uid, self._settings.unit_mib) if node is not None else ()

    def _view_age_s(self) -> float:
        now_s, (nodes, pods) = time.monotonic(), self._reflectors
        return max(nodes.contact_age_s(now_s), pods.contact_age_s(now_s))

    def _unreadable(self) -> dict[str, int]:
        nodes, pods = self._reflectors
        return {"node": nodes.counts.unreadable, "pod": pods.counts.unreadable}

    def _synced(self) -> bool:
        nodes, pods = self._reflectors
        return nodes.synced and pods.synced

    def _view_problem(self) -> str | None:
        # Constant texts: kube-scheduler puts them into events and conditions.
        if self._draining.is_set():
            return NotReady.SHUTTING_DOWN.text
        if not self._synced():
            return NotReady.NOT_SYNCED.text
        if self._view_age_s() > self._settings.stale_s:
            return NotReady.LOST_CONTACT.text
        return None

    def _not_ready(self) -> str | None:
        return self._view_problem() or self._api.writes.problem or None

    def _dead(self) -> str | None:
        return None if all(server.alive for server in self._servers) else "an HTTP server has ended"
