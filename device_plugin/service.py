"""From Settings to a running device plugin: builds the parts, runs their loops in threads, and ends them together.

Several plugins may run in one process, each with its own node, folders and port: nothing here is global.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from .admissions import Admissions
from .advertising import Resource
from .decoding import DecodingError
from .endpoints import Endpoints
from .gpu import GpuSource
from .health import Health
from .kubeapi import NODES, PODS, ApiError, NodeApi, connect
from .lifecycle import Lifecycle
from .loops import Loops
from .measuring import Meter
from .metrics import PluginMetrics
from .metrics_gpus import NodeView
from .nodewatch import Fanout
from .nvml import NvmlSource, load_pynvml
from .nvml_reading import NvmlReader
from .podresources import PodResources
from .pods import BoundPod
from .podstore import PodStore
from .procfs import ProcFolder
from .publishing import OutsideUse
from .reconciling import Reconciler
from .reporting import InventoryReporter
from .safety import build_safety
from .servicer import DevicePluginServicer
from .settings import Settings
from .simulated import SimulatedSource
from .simulated_use import SimulatedUse
from .watching import Watcher

_LOG = logging.getLogger(__name__)

_FIRST_LOOK_S = 2.0
_FIRST_LISTS_S = 5.0
"""For the node and the list of its pods at the start; without an API server the kubelet is served all the same."""


def run(settings: Settings, stop: threading.Event, on_listening: Callable[[int], None] = lambda _: None) -> None:
    """Run one plugin until `stop` is set.

    `on_listening` is called with the HTTP port once it answers.

    Raises:
        SettingsError: the settings cannot work; everything that was started has ended.
    """
    _LOG.info("settings: %s", settings.effective())
    due = threading.Event()
    source = open_source(settings, due.set)
    api = connect(settings.kubeconfig)
    plugin = _Plugin(settings, source, api, stop=stop, due=due)
    try:
        plugin.start()
        on_listening(plugin.endpoints.port)
        stop.wait()
    finally:
        stop.set()
        plugin.stop()
    plugin.loops.check()


def open_source(settings: Settings, on_news: Callable[[], None]) -> GpuSource:
    """The GPUs that the settings name; `on_news` is called when a look at them is worth while at once.

    Raises:
        SettingsError: a file that is missing or wrong.
    """
    if settings.gpus == "nvml":
        return NvmlSource(ignored_xids=settings.safeguards.ignored_xids, on_xid=on_news)
    return SimulatedSource(Path(settings.gpus), settings.node_name)


def open_meter(settings: Settings, source: GpuSource, pods: Callable[[], Mapping[str, BoundPod] | None]) -> Meter:
    """Who measures the GPUs of that source; `pods` are the node's by UID, None while they are not known."""
    if isinstance(source, SimulatedSource):
        use = SimulatedUse(source.use, pods)
        return Meter(source=use, locator=use, pods=pods, interval_s=settings.measure_interval_s)
    return Meter(
        source=NvmlReader(load_pynvml),
        locator=ProcFolder(settings.proc_root),
        pods=pods,
        interval_s=settings.measure_interval_s,
    )


class _Plugin:
    """The parts of one plugin and how they know each other."""

    def __init__(
        self, settings: Settings, source: GpuSource, api: NodeApi, *, stop: threading.Event, due: threading.Event
    ) -> None:
        names, unit_mib = settings.names, settings.memory_unit_mib
        self._settings = settings
        self._api = api
        self._stop = stop
        self.loops = Loops(stop, settings.node_name)
        self._pods = PodStore(names, unit_mib)
        self._selector = f"spec.nodeName={settings.node_name}"
        self._podresources = PodResources(
            settings.podresources_socket, {resource.name_in(names): resource for resource in Resource}
        )
        self._meter = open_meter(settings, source, self._known_pods)
        self._safety = build_safety(
            settings,
            source,
            api=api,
            pods=self._pods,
            podresources=self._podresources,
            due=due,
            usage=self._meter,
            guests=lambda: self._meter.newest.guests,
        )
        self._feed = self._safety.feed
        self._settled = False
        granted = threading.Event()
        admissions = Admissions(
            pods=self._pods,
            podresources=self._podresources,
            read_pods=self._read_pods,
            strategy=settings.device_list_strategy,
            on_granted=granted.set,
            mps=settings.safeguards.mps,
        )
        self._reconciler = Reconciler(
            admissions=admissions,
            pods=self._pods,
            api=api,
            gpus=lambda: self._feed.gpus,
            names=names,
            unit_mib=unit_mib,
            interval_s=settings.reconcile_interval_s,
            due=granted,
        )
        self._reporter = InventoryReporter(
            api=api,
            feed=self._feed,
            node_name=settings.node_name,
            names=names,
            use=OutsideUse(unit_mib, settings.report_interval_s),
            outside_mib=lambda: self._meter.newest.outside_mib,
            is_ready=lambda: self._settled,
        )
        self._meter.on_measured = self._reporter.soon
        metrics = PluginMetrics(names, lambda: self._feed.gpus, self._reconciler.lag_s, self._view(source))
        self._lifecycle = Lifecycle(
            settings,
            [
                DevicePluginServicer(
                    resource=resource,
                    names=names,
                    feed=self._feed,
                    admissions=admissions,
                    reconciler=self._reconciler,
                    metrics=metrics,
                )
                for resource in Resource
            ],
            metrics,
            self._reporter.soon,
        )
        self._pod_watch = Watcher(api, PODS, self._selector, self._pods)
        watched_node = Fanout([self._safety.cordons, self._reporter])
        self._node_watch = Watcher(api, NODES, f"metadata.name={settings.node_name}", watched_node)
        health = Health(
            {
                "gpus": lambda: self._feed.problem,
                "kubelet": lambda: self._lifecycle.problem,
                "inventory": lambda: self._reporter.problem,
                "pods": lambda: self._pod_watch.lasting_problem,
                "node": lambda: self._node_watch.lasting_problem,
            },
            self.loops.problem,
        )
        self.endpoints = Endpoints(settings.address(), health, metrics.registry)

    def start(self) -> None:
        """Start answering and looping."""
        self.endpoints.start()
        self.loops.start("gpus", self._feed.run)
        self.loops.start("meter", self._meter.run)
        self.loops.start("pods", self._pod_watch.run)
        self.loops.start("node", self._node_watch.run)
        self.loops.start("inventory", self._reporter.run)
        self.loops.start("gpu-news", self._reporter.follow_gpus)
        self.loops.start("reconcile", self._reconciler.run)
        self.loops.start("kubelet", self._serve)
        self._safety.start(self.loops)

    def stop(self) -> None:
        """End what was started; the stop event is set."""
        self._pod_watch.abort()
        self._node_watch.abort()
        self._reconciler.soon()
        self._reporter.soon()
        self._feed.soon()
        self._safety.events.wake()
        self.loops.join(timeout_s=10.0)
        self.endpoints.stop()
        self._podresources.close()
        self._api.close()

    def _serve(self, stop: threading.Event) -> None:
        """Offer the resources as soon as it is known what there is to offer."""
        while self._feed.gpus is None and not stop.is_set():
            self._feed.wait_newer(0, 0.5)
        self._settle(stop)
        version, _ = self._feed.wait_newer(-1, 0.0)
        if self._safety.neighbours.step():
            # What somebody else gives out must not be offered even for a moment.
            self._feed.wait_newer(version, _FIRST_LOOK_S)
        self._lifecycle.run(stop)

    def _settle(self, stop: threading.Event) -> None:
        """Measure and probe with the node's pods at hand, so that the first word on enforcement is the right one.

        What the Node says already is known then, too, and is not written again.
        """
        deadline_s = time.monotonic() + _FIRST_LISTS_S
        for watch in (self._pod_watch, self._node_watch):
            while not (stop.is_set() or watch.synced.wait(0.1) or time.monotonic() > deadline_s):
                pass
        self._meter.step()
        version, _ = self._feed.wait_newer(-1, 0.0)
        if self._safety.enforcer.look_again():
            self._feed.wait_newer(version, _FIRST_LOOK_S)
        self._settled = True
        self._reporter.soon()

    def _view(self, source: GpuSource) -> NodeView:
        """What the metrics show of GPUs and containers."""
        police = self._safety.police
        view = NodeView(
            gpus=lambda: self._feed.gpus,
            measurement=lambda: self._meter.newest,
            pods=self._pods.pods,
            unenforced=lambda: self._safety.enforcer.unenforced,
            evictions=lambda: 0 if police is None else police.evictions,
            overused=lambda: () if police is None else police.overused,
        )
        if not isinstance(source, NvmlSource):
            return view
        return replace(view, left_out=lambda: source.left_out, xid_counts=lambda: source.xid_counts)

    def _known_pods(self) -> Mapping[str, BoundPod] | None:
        return self._pods.pods() if self._pod_watch.synced.is_set() else None

    def _read_pods(self, timeout_s: float) -> bool:
        try:
            page = self._api.list(PODS, self._selector, timeout_s)
        except (ApiError, DecodingError) as error:
            _LOG.warning("live read of the node's pods: %s", error)
            return False
        self._pods.merge(page.items)
        return True
