"""Builds the parts of a device plugin from its Settings, runs their loops in threads, and ends them together.

Several plugins may run in one process, each with its own node, folders and port: nothing here is global.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from device_plugin.gpus.gpu import Gpus, GpuSource
from device_plugin.kubelet.admissions import Admissions
from device_plugin.kubelet.device_nodes import DeviceNodes
from device_plugin.kubelet.lifecycle import Lifecycle
from device_plugin.kubelet.podresources import PodResources
from device_plugin.kubelet.reconciling import Reconciler
from device_plugin.kubelet.servicer import DevicePluginServicer
from device_plugin.loops import Loops
from device_plugin.metrics import PluginMetrics
from device_plugin.pods.events import Events
from device_plugin.pods.holdings import gpus_held
from device_plugin.pods.pod import BoundPod
from device_plugin.pods.store import PodStore
from device_plugin.reporting.driver_metrics import DriverCollector
from device_plugin.reporting.gpu_metrics import GpuCollector, NodeView
from device_plugin.reporting.inventory import InventoryReporter, OutsideUse
from device_plugin.reporting.node_watch import OwnNodeSink
from device_plugin.reporting.plugin_metrics import PluginState
from device_plugin.reporting.startup_taints import StartupTaints
from device_plugin.safety import build_safety
from device_plugin.sampling.bounded import BoundedCalls, BoundedReader, driver_calls
from device_plugin.sampling.nvml import NvmlSource, load_pynvml
from device_plugin.sampling.nvml_reading import NvmlReader
from device_plugin.sampling.simulated import SimulatedSource
from device_plugin.serving import Endpoints, Health
from device_plugin.settings import USER_AGENT, MigStrategy, NumaHints, Resource, Settings, SettingsError
from device_plugin.usage.measuring import Meter
from device_plugin.usage.procfs import ProcFolder
from device_plugin.usage.simulated_use import SimulatedUse
from extender.contract.units import GpuUuid
from extender.kube.client import KubeApi, connect
from extender.kube.errors import ApiError, ApiUnreachable, KubeConfigError
from extender.kube.events import EventRecorder
from extender.kube.listing import EnvelopeError, list_pages
from extender.kube.reflector import Reflector

_LOG = logging.getLogger(__name__)

_FIRST_LOOK_S = 2.0
_FIRST_LISTS_S = 5.0
"""For the node and the list of its pods at the start; without an API server the kubelet is served all the same."""

_EVENTS_PER_S = 10.0
_MOST_EVENTS_WAITING = 256


def run(settings: Settings, stop: threading.Event, on_listening: Callable[[int], None] = lambda _: None) -> None:
    """Run one plugin until `stop` is set.

    `on_listening` is called with the HTTP port once it answers.

    Raises:
        SettingsError: the settings cannot work; everything that was started has ended.
    """
    _LOG.info("settings: %s", settings.effective())
    due = threading.Event()
    source = open_source(settings, due.set)
    api = open_api(settings.kubeconfig)
    plugin = _Plugin(settings, source, api, stop=stop, due=due)
    try:
        plugin.start()
        on_listening(plugin.endpoints.port)
        stop.wait()
    finally:
        stop.set()
        plugin.stop()
    plugin.loops.check()


def open_source(settings: Settings, on_change: Callable[[], None]) -> GpuSource:
    """The GPUs that the settings name; `on_change` is called when they should be sampled at once.

    Raises:
        SettingsError: a file that is missing or invalid.
    """
    if settings.gpus == "nvml":
        return NvmlSource(
            ignored_xids=settings.safeguards.ignored_xids,
            on_xid=on_change,
            given_memory=settings.gpu_memory_mib,
            with_slices=settings.mig is MigStrategy.SLICES,
        )
    return SimulatedSource(Path(settings.gpus), settings.node_name)


def open_api(kubeconfig: Path | None) -> KubeApi:
    """Requests to the API server of a kubeconfig file, or of the cluster that this pod runs in.

    Raises:
        SettingsError: the file or the service account cannot be used.
    """
    try:
        return connect(None if kubeconfig is None else str(kubeconfig), user_agent=USER_AGENT)
    except KubeConfigError as error:
        raise SettingsError(str(error)) from error


def open_events(api: KubeApi, node_name: str) -> EventRecorder:
    """The recorder of Events about the node and its pods."""
    return EventRecorder(
        api,
        component=USER_AGENT,
        host=node_name,
        node=node_name,
        now=lambda: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        clock=time.monotonic,
        per_s=_EVENTS_PER_S,
        limit=_MOST_EVENTS_WAITING,
    )


def open_meter(
    settings: Settings, source: GpuSource, pods: Callable[[], Mapping[str, BoundPod] | None], calls: BoundedCalls
) -> Meter:
    """The meter of a source's GPUs; `pods` are the node's by UID, None while they are not known."""
    if isinstance(source, SimulatedSource):
        use = SimulatedUse(source.use, pods)
        return Meter(
            source=use,
            locator=use,
            pods=pods,
            interval_s=settings.measure_interval_s,
            unit_mib=settings.memory_unit_mib,
        )
    return Meter(
        source=BoundedReader(NvmlReader(load_pynvml, with_slices=settings.mig is MigStrategy.SLICES), calls),
        locator=ProcFolder(settings.proc_root),
        pods=pods,
        interval_s=settings.measure_interval_s,
        unit_mib=settings.memory_unit_mib,
        sampled=lambda: source.memory_in_use if isinstance(source, NvmlSource) else (),
    )


class _Plugin:
    """The parts of one plugin and how they know each other."""

    def __init__(
        self, settings: Settings, source: GpuSource, api: KubeApi, *, stop: threading.Event, due: threading.Event
    ) -> None:
        names = settings.names
        self._settings = settings
        self._api = api
        self._stop = stop
        self.loops = Loops(stop, settings.node_name)
        self._pods = PodStore(names, settings.memory_unit_mib)
        self._pods_path = f"/api/v1/pods?fieldSelector=spec.nodeName={settings.node_name}"
        self._pod_watch = Reflector(api, self._pods_path, self._pods, stopping=stop)
        self._events = open_events(api, settings.node_name)
        self._about = Events(self._events, settings.node_name)
        self._podresources = PodResources(
            settings.podresources_socket, {resource.name_in(names): resource for resource in Resource}
        )
        self._calls = driver_calls(settings.safeguards.driver_timeout_s)
        self._meter = open_meter(settings, source, self._known_pods, self._calls.meter)
        self._safety = build_safety(
            settings,
            source,
            api=api,
            events=self._about,
            pods=self._pods,
            podresources=self._podresources,
            due=due,
            meter=self._meter,
            calls=self._calls,
            is_idle=self._is_idle,
            held=self._held,
        )
        self._feed = self._safety.feed
        self._settled = False
        self._reporter = self._make_reporter()
        self._meter.on_measured = self._reporter.soon
        self._taints = StartupTaints(
            api=api,
            node_name=settings.node_name,
            names=names,
            keys=settings.startup_taints,
            is_registered=lambda: not self._lifecycle.problem,
        )
        safety = self._safety
        node = OwnNodeSink(settings.node_name, names, [safety.memory, safety.cordons, self._reporter, self._taints])
        path = f"/api/v1/nodes?fieldSelector=metadata.name={settings.node_name}"
        self._node_watch = Reflector(api, path, node, stopping=stop)
        granted = threading.Event()
        admissions = Admissions(
            pods=self._pods,
            podresources=self._podresources,
            read_pods=self._read_pods,
            strategy=settings.device_list_strategy,
            on_granted=lambda: self._granted(granted),
            mps=settings.safeguards.mps,
            numa_hints=settings.numa_hints,
            device_nodes=self._device_nodes,
        )
        self._reconciler = self._make_reconciler(admissions, granted)
        state = PluginState(
            names, lambda: self._feed.gpus, self._reconciler.lag_s, self._unreadable, self._writes_failing
        )
        metrics = PluginMetrics(
            names,
            [state, GpuCollector(self._view(source)), DriverCollector(self._calls.stalled_s, self._safety.is_released)],
        )
        self._lifecycle = self._make_lifecycle(admissions, metrics)
        self.endpoints = Endpoints(settings.address(), self._make_health(), metrics.registry)

    def _device_nodes(self, uuids: Iterable[GpuUuid], gpus: Gpus) -> tuple[str, ...]:
        """The device nodes that the kubelet is told."""
        if not self._settings.names_device_nodes:
            return ()
        return DeviceNodes(lambda: self._meter.newest.facts, self._settings.dev_root).of(uuids, gpus)

    def _granted(self, due: threading.Event) -> None:
        """After each Allocate: have it recorded, and shown to the kubelet where its picture of the GPUs changes."""
        due.set()
        if self._settings.numa_hints is not NumaHints.NONE:
            self._feed.touch()

    def _writes_failing(self) -> bool:
        return bool(self._api.writes.problem)

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
            on_breach=lambda pod, breach: self._about.about_pod(pod, "Warning", breach.reason, breach.text),
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
            "driver": self._calls.problem,
            "kubelet": lambda: self._lifecycle.problem,
            "podresources": lambda: self._podresources.problem,
            "inventory": lambda: self._reporter.problem,
            "taints": lambda: self._taints.problem,
            "pods": lambda: self._pod_watch.lasting_problem,
            "node": lambda: self._node_watch.lasting_problem,
            "writes": lambda: self._api.writes.problem,
        }
        return Health(parts, lambda: self.loops.problem() or self._worn_out())

    def _worn_out(self) -> str:
        """Why only a new container can read the GPUs; empty while waiting helps, or nothing would."""
        limit_s = self._settings.safeguards.restart_after_s
        if not limit_s or self._feed.failing_s() < limit_s:
            return ""
        return f"GPUs could not be read for {limit_s:g} s, a new container may: {self._feed.problem}"

    def start(self) -> None:
        """Start answering and looping."""
        self.endpoints.start()
        self.loops.start("gpus", self._feed.run)
        self.loops.start("meter", self._meter.run)
        self.loops.start("pods", lambda _: self._pod_watch.run())
        self.loops.start("node", lambda _: self._node_watch.run())
        self.loops.start("inventory", self._reporter.run)
        self.loops.start("taints", self._taints.run)
        self.loops.start("inventory-gpus", self._reporter.follow_gpus)
        self.loops.start("reconcile", self._reconciler.run)
        self.loops.start("kubelet", self._serve)
        self._safety.start(self.loops)
        self._events.start()

    def stop(self) -> None:
        """End what was started; the stop event is set."""
        self._pod_watch.stop(0.0)
        self._node_watch.stop(0.0)
        self._reconciler.soon()
        self._reporter.soon()
        self._taints.soon()
        self._feed.soon()
        self._events.stop(timeout_s=5.0)
        self.loops.join(timeout_s=10.0)
        self._calls.leave()
        self.endpoints.stop()
        self._podresources.close()
        self._api.close()

    def _serve(self, stop: threading.Event) -> None:
        """Offer the resources as soon as the GPUs are known."""
        while self._feed.gpus is None and not stop.is_set():
            self._feed.wait_newer(0, 0.5)
        self._settle(stop)
        version, _ = self._feed.wait_newer(-1, 0.0)
        if self._safety.neighbours.step():
            # A GPU that others give out must not be offered even for a moment.
            self._feed.wait_newer(version, _FIRST_LOOK_S)
        self._lifecycle.run(stop)

    def _settle(self, stop: threading.Event) -> None:
        """Measure and probe once the node's pods are known, so that the first inventory has the right enforcement.

        What the Node already says is known then, too, and is not written again.
        """
        deadline_s = time.monotonic() + _FIRST_LISTS_S
        for watch in (self._pod_watch, self._node_watch):
            while not (stop.is_set() or watch.wait_synced(0.1) or time.monotonic() > deadline_s):
                pass
        self._meter.step()
        version, _ = self._feed.wait_newer(-1, 0.0)
        # Both are asked, whatever the first one says.
        if any([self._safety.enforcer.look_again(), self._safety.memory.look_again()]):
            self._feed.wait_newer(version, _FIRST_LOOK_S)
        self._settled = True
        self._reporter.soon()

    def _view(self, source: GpuSource) -> NodeView:
        """What metrics show of GPUs and containers."""
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
        return replace(
            view,
            left_out=lambda: {**self._feed.left_out, **source.left_out},
            xid_counts=lambda: source.xid_counts,
            critical_xids=lambda: source.critical_xids,
            unwatched=lambda: source.unwatched,
        )

    def _unreadable(self) -> Mapping[str, int]:
        return {"node": self._node_watch.counts.unreadable, "pod": self._pod_watch.counts.unreadable}

    def _known_pods(self) -> Mapping[str, BoundPod] | None:
        return self._pods.pods() if self._pod_watch.synced else None

    def _held(self) -> frozenset[GpuUuid] | None:
        known = self._known_pods()
        return None if known is None else gpus_held(known.values())

    def _is_idle(self) -> bool:
        """Whether no pod of the node has, or is to get, a GPU."""
        pods = self._known_pods()
        return pods is not None and not any(pod.needs and not pod.ended for pod in pods.values())

    def _read_pods(self, timeout_s: float) -> bool:
        try:
            for page in list_pages(self._api, self._pods_path, timeout_s):
                self._pods.merge(page.items)
        except (ApiError, ApiUnreachable, EnvelopeError) as error:
            _LOG.warning("the node's pods cannot be read: %s", error)
            return False
        return True
