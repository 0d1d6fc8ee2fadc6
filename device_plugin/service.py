"""Builds the parts of a device plugin from its Settings, runs their loops in threads, and ends them together.

Several plugins may run in one process, each with its own node, folders and port: nothing here is global.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from device_plugin.enforcing.abilities import NvmlAbilities
from device_plugin.enforcing.draining import Drainer
from device_plugin.enforcing.enforcing import Enforcer
from device_plugin.enforcing.mps import MpsControl
from device_plugin.enforcing.mps_proofs import MpsProofs
from device_plugin.enforcing.policing import Police
from device_plugin.eventing import Events
from device_plugin.gpus.gpu import GpuSource
from device_plugin.gpus.probation import Probation
from device_plugin.kubeapi import NODES, PODS, ApiError, NodeApi, connect
from device_plugin.kubelet.admissions import Admissions
from device_plugin.kubelet.lifecycle import Lifecycle
from device_plugin.kubelet.neighbours import Neighbours
from device_plugin.kubelet.podresources import PodResources
from device_plugin.kubelet.reconciling import Reconciler
from device_plugin.kubelet.servicer import DevicePluginServicer
from device_plugin.loops import Loops
from device_plugin.metrics import PluginMetrics
from device_plugin.pods.decoding import DecodingError
from device_plugin.pods.pod import BoundPod
from device_plugin.pods.store import PodStore
from device_plugin.reporting.gpu_metrics import GpuCollector, NodeView, PluginState
from device_plugin.reporting.health_events import HealthReporter
from device_plugin.reporting.inventory import InventoryReporter, OutsideUse
from device_plugin.reporting.node_watch import CordonWatch, Fanout
from device_plugin.sampling.feed import GpuFeed
from device_plugin.sampling.nvml import NvmlSource, load_pynvml
from device_plugin.sampling.nvml_reading import NvmlReader
from device_plugin.sampling.simulated import SimulatedSource
from device_plugin.sampling.supervising import SupervisedSource
from device_plugin.serving import Endpoints, Health
from device_plugin.settings import Resource, Settings
from device_plugin.usage.accounting.overuse import OveruseRecord
from device_plugin.usage.measuring import Meter
from device_plugin.usage.procfs import ProcFolder
from device_plugin.usage.simulated_use import SimulatedUse
from device_plugin.watching import Watcher

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
        names = settings.names
        self._settings = settings
        self._api = api
        self._stop = stop
        self.loops = Loops(stop, settings.node_name)
        self._pods = PodStore(names, settings.memory_unit_mib)
        self._selector = f"spec.nodeName={settings.node_name}"
        self._pod_watch = Watcher(api, PODS, self._selector, self._pods)
        self._podresources = PodResources(
            settings.podresources_socket, {resource.name_in(names): resource for resource in Resource}
        )
        self._meter = open_meter(settings, source, self._known_pods)
        self._safety = build_safety(
            settings, source, api=api, pods=self._pods, podresources=self._podresources, due=due, meter=self._meter
        )
        self._feed = self._safety.feed
        self._settled = False
        self._reporter = self._make_reporter()
        self._meter.on_measured = self._reporter.soon
        watched_node = Fanout([self._safety.cordons, self._reporter])
        self._node_watch = Watcher(api, NODES, f"metadata.name={settings.node_name}", watched_node)
        granted = threading.Event()
        admissions = Admissions(
            pods=self._pods,
            podresources=self._podresources,
            read_pods=self._read_pods,
            strategy=settings.device_list_strategy,
            on_granted=granted.set,
            mps=settings.safeguards.mps,
        )
        self._reconciler = self._make_reconciler(admissions, granted)
        state = PluginState(names, lambda: self._feed.gpus, self._reconciler.lag_s)
        metrics = PluginMetrics(names, [state, GpuCollector(self._view(source))])
        self._lifecycle = self._make_lifecycle(admissions, metrics)
        self.endpoints = Endpoints(settings.address(), self._make_health(), metrics.registry)

    def _make_reporter(self) -> InventoryReporter:
        settings = self._settings
        return InventoryReporter(
            api=self._api,
            feed=self._feed,
            node_name=settings.node_name,
            names=settings.names,
            use=OutsideUse(settings.memory_unit_mib, settings.report_interval_s),
            outside_mib=lambda: self._meter.newest.outside_mib,
            is_ready=lambda: self._settled,
        )

    def _make_reconciler(self, admissions: Admissions, due: threading.Event) -> Reconciler:
        return Reconciler(
            admissions=admissions,
            pods=self._pods,
            api=self._api,
            gpus=lambda: self._feed.gpus,
            names=self._settings.names,
            unit_mib=self._settings.memory_unit_mib,
            interval_s=self._settings.reconcile_interval_s,
            due=due,
        )

    def _make_lifecycle(self, admissions: Admissions, metrics: PluginMetrics) -> Lifecycle:
        servicers = [
            DevicePluginServicer(
                resource=resource,
                names=self._settings.names,
                feed=self._feed,
                admissions=admissions,
                reconciler=self._reconciler,
                metrics=metrics,
            )
            for resource in Resource
        ]
        return Lifecycle(self._settings, servicers, metrics, self._reporter.soon)

    def _make_health(self) -> Health:
        parts = {
            "gpus": lambda: self._feed.problem,
            "kubelet": lambda: self._lifecycle.problem,
            "inventory": lambda: self._reporter.problem,
            "pods": lambda: self._pod_watch.lasting_problem,
            "node": lambda: self._node_watch.lasting_problem,
        }
        return Health(parts, self.loops.problem)

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
            evictions=lambda: police.evictions,
            overused=lambda: police.overused,
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


@dataclass(frozen=True, slots=True)
class Safety:
    """The parts of one plugin that look after shares and GPUs; `feed` offers what they let through."""

    feed: GpuFeed
    events: Events
    enforcer: Enforcer
    neighbours: Neighbours
    cordons: CordonWatch
    health: HealthReporter
    police: Police
    drainer: Drainer | None

    def start(self, loops: Loops) -> None:
        """Start their loops, all but the feed's."""
        loops.start("events", self.events.run)
        loops.start("health-events", self.health.run)
        loops.start("enforcement", self.enforcer.run)
        loops.start("neighbours", self.neighbours.run)
        loops.start("police", self.police.run)
        if self.drainer is not None:
            loops.start("drainer", self.drainer.run)


def build_safety(
    settings: Settings,
    source: GpuSource,
    *,
    api: NodeApi,
    pods: PodStore,
    podresources: PodResources,
    due: threading.Event,
    meter: Meter,
) -> Safety:
    """Put the parts together; setting `due` asks the feed for a sample."""
    guards = settings.safeguards
    events = Events(api, settings.node_name)
    mps = None if guards.mps_pipe_directory is None else MpsControl(guards.mps_pipe_directory, guards.mps_control)
    enforcer = _enforcer(settings, mps, pods=pods, meter=meter, events=events, on_change=due.set)
    supervised = SupervisedSource(source, enforcer, Probation(guards.probation_s))
    feed = GpuFeed(supervised, settings.memory_unit_mib, settings.sample_interval_s, due)
    return Safety(
        feed=feed,
        events=events,
        enforcer=enforcer,
        neighbours=Neighbours(
            podresources=podresources,
            source=supervised,
            feed=feed,
            events=events,
            interval_s=settings.reconcile_interval_s,
            guests=lambda: meter.newest.guests,
            rival=pods.rival,
        ),
        cordons=CordonWatch(
            node_name=settings.node_name, names=settings.names, source=supervised, feed=feed, events=events
        ),
        health=HealthReporter(feed, pods, events),
        police=Police(
            usage=meter,
            pods=pods,
            unit_mib=settings.memory_unit_mib,
            record=OveruseRecord(guards.overuse_grace_s, guards.overuse_tolerance_mib),
            events=events,
            api=api if guards.evict_overuse else None,
            interval_s=min(5.0, max(0.05, guards.overuse_grace_s / 4)),
        ),
        drainer=None if mps is None else Drainer(mps=mps, usage=meter, pods=pods),
    )


def _enforcer(
    settings: Settings,
    mps: MpsControl | None,
    *,
    pods: PodStore,
    meter: Meter,
    events: Events,
    on_change: Callable[[], None],
) -> Enforcer:
    guards = settings.safeguards
    pipe = guards.mps_pipe_directory
    return Enforcer(
        best=guards.enforcement,
        abilities=NvmlAbilities(load_pynvml, guards.cgroup_root) if settings.gpus == "nvml" else None,
        mps=mps,
        proofs=None if pipe is None or mps is None else MpsProofs(mps, pipe, settings.proc_root),
        usage=meter,
        pods=pods,
        unit_mib=settings.memory_unit_mib,
        interval_s=guards.probe_interval_s,
        on_change=on_change,
        events=events,
    )
