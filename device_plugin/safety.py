"""Builds the parts that enforce shares and keep unusable GPUs out of service."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from device_plugin.enforcing.abilities import BoundedAbilities, NvmlAbilities
from device_plugin.enforcing.draining import Drainer
from device_plugin.enforcing.enforcing import Enforcer
from device_plugin.enforcing.mps import MpsControl
from device_plugin.enforcing.mps_proofs import MpsProofs
from device_plugin.enforcing.policing import Police
from device_plugin.gpus.gpu import GpuSource
from device_plugin.gpus.probation import Probation
from device_plugin.gpus.remembering import EarlierGpus
from device_plugin.kubelet.neighbours import Neighbours
from device_plugin.kubelet.podresources import PodResources
from device_plugin.loops import Loops
from device_plugin.pods.events import Events
from device_plugin.pods.store import PodStore
from device_plugin.reporting.health_events import HealthReporter
from device_plugin.reporting.node_watch import CordonWatch, InventoryMemory
from device_plugin.sampling.bounded import BoundedCalls, BoundedSource, DriverCalls
from device_plugin.sampling.feed import GpuFeed
from device_plugin.sampling.nvml import NvmlSource, load_pynvml
from device_plugin.sampling.supervising import SupervisedSource
from device_plugin.sampling.yielding import YieldingSource
from device_plugin.settings import Settings
from device_plugin.usage.accounting.overuse import OveruseRecord
from device_plugin.usage.measuring import Meter
from extender.contract.units import GpuUuid
from extender.kube.client import KubeApi

RELEASE = "GPUDriverUse"


@dataclass(frozen=True, slots=True)
class Safety:
    """The parts of one plugin that enforce shares and keep unusable GPUs out.

    `feed` has what may be offered, and `is_released` says whether NVML is closed because nobody needs the GPUs.
    """

    feed: GpuFeed
    enforcer: Enforcer
    neighbours: Neighbours
    cordons: CordonWatch
    memory: InventoryMemory
    health: HealthReporter
    police: Police
    drainer: Drainer | None
    is_released: Callable[[], bool]

    def start(self, loops: Loops) -> None:
        """Start their loops, except the feed's."""
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
    api: KubeApi,
    events: Events,
    pods: PodStore,
    podresources: PodResources,
    due: threading.Event,
    meter: Meter,
    calls: DriverCalls,
    is_idle: Callable[[], bool],
    held: Callable[[], frozenset[GpuUuid] | None],
) -> Safety:
    """Put the parts together.

    Setting `due` asks the feed for a sample; `is_idle` is whether no pod has a GPU, `held` are the GPUs that pods have,
    None while that is not known.
    """
    guards = settings.safeguards
    mps = None if guards.mps_pipe_directory is None else MpsControl(guards.mps_pipe_directory, guards.mps_control)
    enforcer = _enforcer(settings, mps, pods=pods, meter=meter, events=events, on_change=due.set, calls=calls.enforcer)
    yielding, earlier = None, EarlierGpus()
    if isinstance(source, NvmlSource):
        source.slices.held = earlier.held = held
        yielding = YieldingSource(
            BoundedSource(source, calls.sampler),
            calls,
            may_close=lambda samples: is_idle() and supervised.are_cordoned(samples),
            has_lost=lambda: source.has_lost,
            is_stuck=lambda: source.is_stuck,
            tell=lambda text: events.about_node("Normal", RELEASE, text),
            on_anew=lambda: (meter.begin_anew(), enforcer.look_again()),
        )
    supervised = SupervisedSource(yielding or source, enforcer, Probation(guards.probation_s), earlier=earlier)
    feed = GpuFeed(supervised, settings.memory_unit_mib, settings.sample_interval_s, due)
    return Safety(
        feed=feed,
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
        cordons=CordonWatch(names=settings.names, source=supervised, feed=feed, events=events),
        memory=InventoryMemory(settings.names, earlier, feed),
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
        is_released=lambda: yielding is not None and yielding.is_closed,
    )


def _enforcer(
    settings: Settings,
    mps: MpsControl | None,
    *,
    pods: PodStore,
    meter: Meter,
    events: Events,
    on_change: Callable[[], None],
    calls: BoundedCalls,
) -> Enforcer:
    guards = settings.safeguards
    pipe = guards.mps_pipe_directory
    is_real = settings.gpus == "nvml"
    return Enforcer(
        best=guards.enforcement,
        abilities=BoundedAbilities(NvmlAbilities(load_pynvml, guards.cgroup_root), calls) if is_real else None,
        mps=mps,
        proofs=None if pipe is None or mps is None else MpsProofs(mps, pipe, settings.proc_root),
        usage=meter,
        pods=pods,
        unit_mib=settings.memory_unit_mib,
        interval_s=guards.probe_interval_s,
        on_change=on_change,
        events=events,
        may_probe=lambda: not calls.is_shut,
    )
